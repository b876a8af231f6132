#include "core/decode/decode.h"

#include <Zydis/Zydis.h>

#include <cstring>

#include "core/decode/plain.h"
#include "core/decode/stand_in.h"
#include "core/discover/pattern.h"

namespace fase::core {
namespace {

struct Register {
  OperandKind kind = OperandKind::other;
  std::uint8_t index = 0;
};

constexpr bool in(ZydisRegister r, ZydisRegister first, ZydisRegister last) { return r >= first && r <= last; }

Register classify(ZydisRegister r) {
  const auto from = [r](OperandKind kind, ZydisRegister first) { return Register{kind, static_cast<std::uint8_t>(r - first)}; };
  if (in(r, ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_R15)) return from(OperandKind::gpr, ZYDIS_REGISTER_RAX);
  if (in(r, ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_R15D)) return from(OperandKind::gpr, ZYDIS_REGISTER_EAX);
  if (in(r, ZYDIS_REGISTER_ZMM0, ZYDIS_REGISTER_ZMM31)) return from(OperandKind::vector, ZYDIS_REGISTER_ZMM0);
  if (in(r, ZYDIS_REGISTER_YMM0, ZYDIS_REGISTER_YMM31)) return from(OperandKind::vector, ZYDIS_REGISTER_YMM0);
  if (in(r, ZYDIS_REGISTER_XMM0, ZYDIS_REGISTER_XMM31)) return from(OperandKind::vector, ZYDIS_REGISTER_XMM0);
  if (in(r, ZYDIS_REGISTER_K0, ZYDIS_REGISTER_K7)) return from(OperandKind::opmask, ZYDIS_REGISTER_K0);
  if (in(r, ZYDIS_REGISTER_AX, ZYDIS_REGISTER_R15W)) return from(OperandKind::gpr, ZYDIS_REGISTER_AX);
  if (in(r, ZYDIS_REGISTER_AL, ZYDIS_REGISTER_BL)) return from(OperandKind::gpr, ZYDIS_REGISTER_AL);
  if (in(r, ZYDIS_REGISTER_AH, ZYDIS_REGISTER_BH)) return from(OperandKind::gpr, ZYDIS_REGISTER_AH);
  // Zydis: AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B...R15B
  if (in(r, ZYDIS_REGISTER_SPL, ZYDIS_REGISTER_R15B)) return {OperandKind::gpr, static_cast<std::uint8_t>(r - ZYDIS_REGISTER_SPL + 4)};
  return {};
}

void add(RegisterSet& set, Register r) {
  if (r.kind == OperandKind::gpr) set.gprs |= static_cast<std::uint16_t>(1u << r.index);
  if (r.kind == OperandKind::vector) set.vectors |= 1u << r.index;
  if (r.kind == OperandKind::opmask) set.opmasks |= static_cast<std::uint8_t>(1u << r.index);
}

/// Instructions that go on with the next one but whose effects our bookkeeping does not cover, or that the kernel ties to an address.
bool must_not_be_copied(const ZydisDecodedInstruction& z) {
  switch (z.meta.category) {
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_XSAVE:
    case ZYDIS_CATEGORY_XSAVEOPT:
    case ZYDIS_CATEGORY_RDWRFSGS:
    case ZYDIS_CATEGORY_SEGOP:
    case ZYDIS_CATEGORY_CET:
    case ZYDIS_CATEGORY_VTX:
    case ZYDIS_CATEGORY_SGX:
    case ZYDIS_CATEGORY_KEYLOCKER:
    case ZYDIS_CATEGORY_KEYLOCKER_WIDE:
    case ZYDIS_CATEGORY_UINTR:
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP:
    case ZYDIS_CATEGORY_AVX512_4FMAPS:
    case ZYDIS_CATEGORY_AVX512_4VNNIW:
    case ZYDIS_CATEGORY_KNC:
    case ZYDIS_CATEGORY_ENQCMD:
    case ZYDIS_CATEGORY_TSX_LDTRK:
    case ZYDIS_CATEGORY_PKU:
    case ZYDIS_CATEGORY_HRESET:
    case ZYDIS_CATEGORY_PADLOCK: return true;
    default: break;
  }
  switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_VZEROUPPER:
    case ZYDIS_MNEMONIC_VZEROALL:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
    case ZYDIS_MNEMONIC_XBEGIN:
    case ZYDIS_MNEMONIC_XEND:
    case ZYDIS_MNEMONIC_XABORT:
    case ZYDIS_MNEMONIC_XTEST:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_XGETBV:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE: return true;
    default: return false;
  }
}

bool never_goes_on(const ZydisDecodedInstruction& z) {
  switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ: return true;
    default: return false;
  }
}

bool direct(const ZydisDecodedInstruction& z) { return z.raw.imm[0].is_relative; }

Flow flow_of(const ZydisDecodedInstruction& z) {
  if (never_goes_on(z)) return Flow::trap;
  switch (z.meta.category) {
    case ZYDIS_CATEGORY_RET: return Flow::ret;
    case ZYDIS_CATEGORY_CALL: return direct(z) ? Flow::call : Flow::indirect_call;
    case ZYDIS_CATEGORY_UNCOND_BR: return direct(z) ? Flow::jump : Flow::indirect_jump;
    case ZYDIS_CATEGORY_COND_BR: {
      if (z.mnemonic == ZYDIS_MNEMONIC_XBEGIN) return Flow::system;
      const bool jcc = (z.opcode & 0xf0) == (z.opcode_map == ZYDIS_OPCODE_MAP_0F ? 0x80 : 0x70);
      return jcc ? Flow::branch : Flow::loop;
    }
    default: return must_not_be_copied(z) ? Flow::system : Flow::plain;
  }
}

Encoding encoding_of(const ZydisDecodedInstruction& z) {
  switch (z.encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_VEX: return Encoding::vex;
    case ZYDIS_INSTRUCTION_ENCODING_EVEX: return Encoding::evex;
    case ZYDIS_INSTRUCTION_ENCODING_XOP: return Encoding::xop;
    default: return Encoding::legacy;
  }
}

FmaInfo fma_of(const ZydisDecodedInstruction& z) {
  const bool vex = z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX, evex = z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
  if ((!vex && !evex) || z.opcode_map != ZYDIS_OPCODE_MAP_0F38 || !fma_opcode(z.opcode)) return {};
  if ((vex ? z.raw.vex.pp : z.raw.evex.pp) != 1) return {};
  return fma_info(z.opcode, vex ? z.raw.vex.W : z.raw.evex.W);
}

Bf16 bf16_of(const Insn& insn) {
  const std::size_t prefixes = count_prefixes(insn.bytes, insn.length);
  return insn.length - prefixes < 5 ? Bf16::none : bf16_pattern(insn.bytes + prefixes);
}

std::uint8_t address_register(ZydisRegister r) {
  if (r == ZYDIS_REGISTER_NONE) return kNoRegister;
  if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP) return kRip;
  return classify(r).index;
}

MemoryOperand memory_of(const ZydisDecodedInstruction& z, const ZydisDecodedOperand& o, Address at) {
  MemoryOperand m;
  m.present = true;
  const bool accesses = o.mem.type != ZYDIS_MEMOP_TYPE_AGEN && z.meta.category != ZYDIS_CATEGORY_PREFETCH;
  m.reads = accesses && (o.actions & ZYDIS_OPERAND_ACTION_MASK_READ);
  m.writes = accesses && (o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
  m.address32 = z.address_width == 32;
  m.segment = o.mem.segment == ZYDIS_REGISTER_FS ? Segment64::fs : o.mem.segment == ZYDIS_REGISTER_GS ? Segment64::gs : Segment64::none;
  m.base = address_register(o.mem.base);
  m.index = address_register(o.mem.index);
  m.vector_index = o.mem.type == ZYDIS_MEMOP_TYPE_VSIB;
  m.scale = o.mem.scale ? o.mem.scale : 1;
  m.bytes = static_cast<std::uint16_t>(o.size / 8);
  m.disp = o.mem.disp.has_displacement ? o.mem.disp.value : 0;
  if (m.base == kRip) m.disp += static_cast<std::int64_t>(at + z.length);
  return m;
}

void note_address_registers(const ZydisDecodedOperand& o, RegisterSet& reads) {
  if (o.mem.base != ZYDIS_REGISTER_NONE) add(reads, classify(o.mem.base));
  if (o.mem.index != ZYDIS_REGISTER_NONE) add(reads, classify(o.mem.index));
}

/// True when a write to this vector or opmask register replaces the whole of it.
bool replaces_all(const ZydisDecodedInstruction& z, const ZydisDecodedOperand& o, OperandKind kind) {
  if (o.actions & (ZYDIS_OPERAND_ACTION_CONDWRITE | ZYDIS_OPERAND_ACTION_CONDREAD)) return false;
  if (kind == OperandKind::gpr) return o.size >= 32;
  if (z.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) return false;  // SSE keeps the upper part
  return true;
}

void note_register(const ZydisDecodedInstruction& z, const ZydisDecodedOperand& o, Insn& out) {
  const Register r = classify(o.reg.value);
  if (r.kind == OperandKind::other) return;
  if (o.actions & ZYDIS_OPERAND_ACTION_MASK_READ) add(out.reads, r);
  if (!(o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)) return;
  add(out.writes, r);
  const bool merges = r.kind != OperandKind::gpr && out.mask != 0 && !out.zeroing && r.kind == OperandKind::vector;
  if (replaces_all(z, o, r.kind) && !merges) add(out.kills, r);
  else add(out.reads, r);
}

void note_operand(const ZydisDecodedInstruction& z, const ZydisDecodedOperand& o, Insn& out) {
  if (o.type == ZYDIS_OPERAND_TYPE_REGISTER) note_register(z, o, out);
  if (o.type != ZYDIS_OPERAND_TYPE_MEMORY) return;
  note_address_registers(o, out.reads);
  if (o.mem.type == ZYDIS_MEMOP_TYPE_AGEN) return;
  out.reads_memory |= (o.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
  out.writes_memory |= (o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
}

Operand explicit_operand(const ZydisDecodedOperand& o) {
  Operand e;
  e.bits = o.size;
  switch (o.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER: {
      const Register r = classify(o.reg.value);
      e.kind = r.kind;
      e.index = r.index;
      break;
    }
    case ZYDIS_OPERAND_TYPE_MEMORY: e.kind = OperandKind::memory; break;
    case ZYDIS_OPERAND_TYPE_IMMEDIATE: e.kind = OperandKind::immediate; break;
    default: e.kind = OperandKind::other;
  }
  return e;
}

void set_operands(const ZydisDecodedInstruction& z, const ZydisDecodedOperand* operands, Insn& out) {
  for (int i = 0; i < z.operand_count; ++i) {
    const ZydisDecodedOperand& o = operands[i];
    if (o.encoding == ZYDIS_OPERAND_ENCODING_MASK && out.mask == 0) continue;  // k0, which stands for none
    note_operand(z, o, out);
    if (o.visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT) continue;
    if (o.type == ZYDIS_OPERAND_TYPE_MEMORY) out.memory = memory_of(z, o, out.address);
    if (o.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && !out.has_immediate) {
      out.has_immediate = true;
      out.immediate = o.imm.value.s;
      if (o.imm.is_relative) out.target = out.next() + static_cast<Address>(o.imm.value.s);
    }
    // The write mask is a property of the instruction here, not an operand.
    if (o.encoding == ZYDIS_OPERAND_ENCODING_MASK || out.operand_count == 4) continue;
    out.operands[out.operand_count++] = explicit_operand(o);
  }
  if (out.mask) out.reads.opmasks |= static_cast<std::uint8_t>(1u << out.mask);
  if (z.meta.category == ZYDIS_CATEGORY_AVX512_VP2INTERSECT) {  // writes a pair of opmasks, of which Zydis names one
    const auto pair = static_cast<std::uint8_t>(3u << (out.operands[0].index & 6));
    out.writes.opmasks |= pair;
  }
}

void set_flags(const ZydisDecodedInstruction& z, Insn& out) {
  if (z.cpu_flags == nullptr) return;
  const ZydisAccessedFlags& f = *z.cpu_flags;
  const auto narrow = [](ZydisAccessedFlagsMask m) { return static_cast<std::uint16_t>(m & (kArithmeticFlags | kDirection)); };
  out.flags_read = narrow(f.tested);
  out.flags_written = narrow(f.modified | f.set_0 | f.set_1 | f.undefined);
  // A shift by zero and a repeated string operation of length zero leave the flags alone.
  const bool conditional = z.meta.category == ZYDIS_CATEGORY_SHIFT || z.meta.category == ZYDIS_CATEGORY_ROTATE ||
                           (z.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));
  if (conditional) return;
  out.flags_killed = narrow(f.modified | f.set_0 | f.set_1);
  // and/or/xor/test leave AF undefined on paper; on hardware it is always written.
  if (z.meta.category == ZYDIS_CATEGORY_LOGICAL) out.flags_killed |= narrow(f.undefined);
}

void set_vector_info(const ZydisDecodedInstruction& z, Insn& out) {
  out.encoding = encoding_of(z);
  out.vector_bits = z.avx.vector_length;
  if (out.encoding != Encoding::evex) return;
  out.mask = z.raw.evex.aaa;
  out.zeroing = z.raw.evex.z;
  const bool memory = z.raw.modrm.mod != 3;
  out.broadcast = memory && z.raw.evex.b;
  out.embedded_rounding = !memory && z.raw.evex.b;
}

const ZydisDecoder& decoder() {
  // Constant after its first use; initialised here rather than at load time so that core needs no constructor.
  static const ZydisDecoder instance = [] {
    ZydisDecoder d;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return d;
  }();
  return instance;
}

bool decode_any(const std::uint8_t* p, std::size_t n, Address at, Insn& out) {
  ZydisDecoderContext context;
  ZydisDecodedInstruction z;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  out = Insn{};
  std::uint8_t other[kMaxInstruction];
  const auto known = [&](const std::uint8_t* bytes) {
    return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder(), &context, bytes, n, &z)) &&
           ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder(), &context, &z, operands, z.operand_count));
  };
  const bool direct_hit = known(p);
  if (!direct_hit && !(stand_in(p, n, other) && known(other))) return false;
  out.address = at;
  out.length = z.length;
  std::memcpy(out.bytes, p, z.length);
  out.fma = fma_of(z);
  if (!out.fma.present) out.mnemonic = static_cast<std::uint16_t>(direct_hit ? z.mnemonic : ZYDIS_MNEMONIC_VCVTNEPS2BF16);
  out.flow = flow_of(z);
  out.condition = z.opcode & 15;
  set_vector_info(z, out);
  set_operands(z, operands, out);
  set_flags(z, out);
  out.bf16 = bf16_of(out);
  out.disp_offset = z.raw.disp.offset;
  out.disp_bytes = z.raw.disp.size / 8;
  out.modrm_offset = z.raw.modrm.offset;
  return true;
}

}  // namespace

bool decode(const std::uint8_t* p, std::size_t n, Address at, Insn& out) {
  if (n > kMaxInstruction) n = kMaxInstruction;
  return decode_plain(p, n, at, out) || decode_any(p, n, at, out);
}

}  // namespace fase::core
