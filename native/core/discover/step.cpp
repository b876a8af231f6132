#include "core/discover/step.h"

#include <Zydis/Zydis.h>

#include "core/decode/plain.h"
#include "core/decode/stand_in.h"

namespace fase::core {
namespace {

const ZydisDecoder& decoder() {
  static const ZydisDecoder instance = [] {
    ZydisDecoder d;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return d;
  }();
  return instance;
}

bool is_privileged(const ZydisDecodedInstruction& z) {
  switch (z.meta.category) {
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_VTX: return true;
    default: break;
  }
  switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_CLI:
    case ZYDIS_MNEMONIC_STI:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_LGDT:
    case ZYDIS_MNEMONIC_LIDT:
    case ZYDIS_MNEMONIC_LLDT:
    case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_CLTS:
    case ZYDIS_MNEMONIC_INVD:
    case ZYDIS_MNEMONIC_WBINVD:
    case ZYDIS_MNEMONIC_INVLPG:
    case ZYDIS_MNEMONIC_RDMSR:
    case ZYDIS_MNEMONIC_WRMSR:
    case ZYDIS_MNEMONIC_SWAPGS:
    case ZYDIS_MNEMONIC_RSM:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT: return true;
    default: return false;
  }
}

/// Valid for a program, but in no compiler's and no JIT's repertoire: a byte-sized add of random operands, far transfers, BCD relics, x87...
bool is_rare(const ZydisDecodedInstruction& z) {
  const bool absolute = (z.attributes & ZYDIS_ATTRIB_HAS_SIB) && z.raw.modrm.mod == 0 && z.raw.sib.base == 5 && z.raw.sib.index == 4;
  if (absolute && !(z.attributes & ZYDIS_ATTRIB_HAS_SEGMENT)) return true;
  if (z.meta.category == ZYDIS_CATEGORY_X87_ALU || z.meta.category == ZYDIS_CATEGORY_SEGOP) return true;
  if (z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
    if (z.opcode == 0x00 || z.opcode == 0x02) return true;                        // add r/m8, r8: two zero bytes
    if (z.opcode >= 0x10 && z.opcode < 0x20 && (z.opcode & 1) == 0) return true;  // adc, sbb of bytes
    if (z.opcode >= 0xa4 && z.opcode <= 0xaf && z.opcode != 0xa8 && z.opcode != 0xa9 &&
        !(z.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)))
      return true;                                                                      // string operations without rep
    if (z.opcode >= 0xa0 && z.opcode <= 0xa3) return true;                              // mov to and from absolute addresses
    if (z.opcode == 0x8c || z.opcode == 0x8e) return true;                              // segment registers
    if (z.opcode >= 0x91 && z.opcode <= 0x97) return true;                              // xchg with the accumulator
    if (z.raw.prefix_count > 0 && z.opcode < 0x40 && (z.opcode & 7) >= 4) return true;  // prefixed accumulator forms
  }
  switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_XLAT:
    case ZYDIS_MNEMONIC_CMC:
    case ZYDIS_MNEMONIC_STC:
    case ZYDIS_MNEMONIC_CLC:
    case ZYDIS_MNEMONIC_STD:
    case ZYDIS_MNEMONIC_LAHF:
    case ZYDIS_MNEMONIC_SAHF:
    case ZYDIS_MNEMONIC_FWAIT:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_PUSHFQ:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_JRCXZ:
    case ZYDIS_MNEMONIC_JECXZ: return true;
    default: break;
  }
  const bool far = z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
  return far || z.mnemonic == ZYDIS_MNEMONIC_LSS || z.mnemonic == ZYDIS_MNEMONIC_LFS || z.mnemonic == ZYDIS_MNEMONIC_LGS;
}

bool is_rip_relative(const ZydisDecodedInstruction& z) {
  return (z.attributes & ZYDIS_ATTRIB_HAS_MODRM) && z.raw.modrm.mod == 0 && z.raw.modrm.rm == 5;
}

StepKind kind_of(const ZydisDecodedInstruction& z) {
  const bool direct = z.raw.imm[0].is_relative;
  switch (z.meta.category) {
    case ZYDIS_CATEGORY_RET: return StepKind::end;
    case ZYDIS_CATEGORY_CALL: return direct ? StepKind::call : StepKind::plain;
    case ZYDIS_CATEGORY_COND_BR: return StepKind::branch;
    case ZYDIS_CATEGORY_UNCOND_BR:
      if (direct) return StepKind::jump;
      return is_rip_relative(z) ? StepKind::tail_call : StepKind::indirect_jump;
    default: break;
  }
  switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_HLT: return StepKind::end;
    default: return is_privileged(z) ? StepKind::end : StepKind::plain;
  }
}

/// Where constants in vector registers come from: memory at an address that code names, or a general register.
bool may_bring_constant(const ZydisDecodedInstruction& z) {
  constexpr std::uint64_t kLowestAddress = 1 << 16;  // vm.mmap_min_addr
  if (is_rip_relative(z)) return true;
  switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_MOV: return z.raw.imm[0].size >= 32 && z.raw.imm[0].value.u >= kLowestAddress;
    case ZYDIS_MNEMONIC_MOVD:
    case ZYDIS_MNEMONIC_MOVQ:
    case ZYDIS_MNEMONIC_VMOVD:
    case ZYDIS_MNEMONIC_VMOVQ:
    case ZYDIS_MNEMONIC_PINSRD:
    case ZYDIS_MNEMONIC_PINSRQ:
    case ZYDIS_MNEMONIC_VPINSRD:
    case ZYDIS_MNEMONIC_VPINSRQ:
    case ZYDIS_MNEMONIC_VPBROADCASTD:
    case ZYDIS_MNEMONIC_VPBROADCASTQ: return z.raw.modrm.mod == 3;
    default: return false;
  }
}

void note_data(const ZydisDecoderContext& context, const ZydisDecodedInstruction& z, Address at, Step& out) {
  const Address address = at + z.length + static_cast<Address>(z.raw.disp.value);
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder(), &context, &z, operands, z.operand_count))) return;
  for (int i = 0; i < z.operand_count; ++i) {
    if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY || operands[i].mem.base != ZYDIS_REGISTER_RIP) continue;
    if (operands[i].mem.type == ZYDIS_MEMOP_TYPE_AGEN) {
      out.pointer = address;
    } else {
      out.data = address;
      out.data_bytes = static_cast<std::uint8_t>(operands[i].size / 8 > 64 ? 64 : operands[i].size / 8);
    }
  }
}

}  // namespace

Step step(const std::uint8_t* p, std::size_t n, Address at) {
  Step out;
  ZydisDecoderContext context;
  ZydisDecodedInstruction z;
  std::uint8_t other[kMaxInstruction];
  if (n > kMaxInstruction) n = kMaxInstruction;
  if ((out.length = plain_length(p, n)) != 0) return out;
  const auto known = [&](const std::uint8_t* bytes) { return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder(), &context, bytes, n, &z)); };
  if (!known(p) && !(stand_in(p, n, other) && known(other))) return out;
  out.length = z.length;
  out.kind = kind_of(z);
  out.padding = z.mnemonic == ZYDIS_MNEMONIC_NOP || z.mnemonic == ZYDIS_MNEMONIC_INT3;
  out.privileged = is_privileged(z);
  out.rare = out.privileged || is_rare(z);
  if (z.raw.imm[0].is_relative) out.target = at + z.length + static_cast<Address>(z.raw.imm[0].value.s);
  if (is_rip_relative(z)) note_data(context, z, at, out);
  if (z.mnemonic == ZYDIS_MNEMONIC_MOV && z.raw.imm[0].size == 64) out.pointer = z.raw.imm[0].value.u;
  out.constant = may_bring_constant(z);
  return out;
}

}  // namespace fase::core
