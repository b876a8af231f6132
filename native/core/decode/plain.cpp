#include "core/decode/plain.h"

#include <cstring>

#include "core/discover/pattern.h"

namespace fase::core {
namespace {

constexpr std::uint8_t kVex2 = 0xc5, kVex3 = 0xc4, kEvex = 0x62;
constexpr unsigned kSibFollows = 4, kNoIndex = 4, kNoBase = 5;  // in rm, index and base

/// What VEX and EVEX say. R, X, B, R', V' and vvvv are stored inverted; here they are as they count.
struct Prefix {
  std::uint8_t size = 0;  // 0: no plain instruction has this one
  bool evex = false, wide = false, broadcast = false;
  std::uint8_t map = 0, pp = 0;
  std::uint8_t reg = 0, index = 0, base = 0, rm = 0, second = 0;  // the upper bits of registers' numbers; `second` is all of one
  std::uint16_t bits = 128;
};

std::uint8_t bit(unsigned byte, unsigned from, unsigned to) { return static_cast<std::uint8_t>((~byte >> from & 1) << to); }

Prefix vex_of(const std::uint8_t* p) {
  Prefix x;
  const unsigned last = p[0] == kVex2 ? p[1] : p[2];
  x.size = p[0] == kVex2 ? 2 : 3;
  x.map = 1;
  x.pp = last & 3;
  x.reg = bit(p[1], 7, 3);
  x.second = ~last >> 3 & 15;
  x.bits = last & 4 ? 256 : 128;
  if (p[0] == kVex2) return x;
  x.map = p[1] & 0x1f;
  x.wide = p[2] >> 7;
  x.index = bit(p[1], 6, 3);
  x.base = x.rm = bit(p[1], 5, 3);
  return x;
}

Prefix evex_of(const std::uint8_t* p) {
  Prefix x;
  const unsigned length = p[3] >> 5 & 3;
  const bool masked = (p[3] & 0x87) != 0;  // or {z}
  if (masked || length == 3 || (p[2] & 4) == 0) return x;
  x.size = 4;
  x.evex = true;
  x.wide = p[2] >> 7;
  x.broadcast = p[3] & 0x10;
  x.map = p[1] & 0x0f;
  x.pp = p[2] & 3;
  x.reg = bit(p[1], 7, 3) | bit(p[1], 4, 4);
  x.index = bit(p[1], 6, 3);
  x.base = bit(p[1], 5, 3);
  x.rm = x.base | bit(p[1], 6, 4);
  x.second = (~p[2] >> 3 & 15) | bit(p[3], 3, 4);
  x.bits = static_cast<std::uint16_t>(128 << length);
  return x;
}

Prefix prefix_of(const std::uint8_t* p) {
  if (p[0] == kEvex) return evex_of(p);
  return p[0] == kVex2 || p[0] == kVex3 ? vex_of(p) : Prefix{};
}

struct ModRm {
  explicit ModRm(std::uint8_t byte) : mod(byte >> 6), reg(byte >> 3 & 7), rm(byte & 7) {}
  unsigned mod, reg, rm;
  bool memory() const { return mod != 3; }
  bool sib() const { return memory() && rm == kSibFollows; }
};

enum class Kind : std::uint8_t { none, fma, load, store, broadcast };

Kind kind_of(const Prefix& x, std::uint8_t opcode) {
  if (x.size == 0) return Kind::none;
  if (x.map == 2 && x.pp == 1 && fma_opcode(opcode)) return Kind::fma;
  if (x.wide) return Kind::none;
  if (x.map == 2 && x.pp == 1 && opcode == 0x18) return Kind::broadcast;
  if (x.map != 1 || x.pp != 0) return Kind::none;
  if (opcode == 0x10 || opcode == 0x28) return Kind::load;
  return opcode == 0x11 || opcode == 0x29 ? Kind::store : Kind::none;
}

/// The bits that have several meanings have the one that they have in plain instructions.
bool is_usual(const Prefix& x, Kind kind, std::uint8_t opcode, bool memory) {
  if (kind == Kind::none) return false;
  if (kind != Kind::fma) return memory && x.second == 0 && !x.broadcast;
  return fma_info(opcode, false).scalar ? x.bits == 128 && !x.broadcast : memory || !x.broadcast;
}

std::uint16_t mnemonic_of(std::uint8_t opcode) {
  if (opcode == 0x18) return ZYDIS_MNEMONIC_VBROADCASTSS;
  return opcode < 0x18 ? ZYDIS_MNEMONIC_VMOVUPS : ZYDIS_MNEMONIC_VMOVAPS;
}

void add_gpr(RegisterSet& set, unsigned g) { set.gprs |= static_cast<std::uint16_t>(1u << g); }

/// `n`: what an 8-bit displacement is counted in.
void set_address(const Prefix& x, unsigned n, Insn& out) {
  const ModRm modrm(out.bytes[out.modrm_offset]);
  MemoryOperand& m = out.memory;
  m.present = true;
  m.base = static_cast<std::uint8_t>(x.base | modrm.rm);
  if (modrm.sib()) {
    const ModRm s(out.bytes[out.modrm_offset + 1]);
    m.base = static_cast<std::uint8_t>(x.base | s.rm);
    if ((x.index | s.reg) != kNoIndex) {
      m.index = static_cast<std::uint8_t>(x.index | s.reg);
      m.scale = static_cast<std::uint8_t>(1u << s.mod);
      add_gpr(out.reads, m.index);
    }
  }
  add_gpr(out.reads, m.base);
  if (modrm.mod == 0) return;
  out.disp_offset = static_cast<std::uint8_t>(out.modrm_offset + 1u + modrm.sib());
  out.disp_bytes = modrm.mod == 1 ? 1 : 4;
  std::int32_t wide;
  std::memcpy(&wide, out.bytes + out.disp_offset, sizeof wide);
  m.disp = modrm.mod == 1 ? std::int64_t{static_cast<std::int8_t>(wide)} * n : wide;
}

/// Operands in Intel order, and what is done with them.
class Operands {
 public:
  explicit Operands(Insn& out) : out_(out) {}

  void vector(unsigned r, bool read, bool written) {
    out_.operands[out_.operand_count++] = {OperandKind::vector, static_cast<std::uint8_t>(r), out_.vector_bits};
    if (read) out_.reads.vectors |= 1u << r;
    if (written) out_.writes.vectors = out_.kills.vectors = 1u << r;
  }

  void memory(const Prefix& x, unsigned bits, bool written) {
    out_.operands[out_.operand_count++] = {OperandKind::memory, 0, static_cast<std::uint16_t>(bits)};
    out_.memory.bytes = static_cast<std::uint16_t>(bits / 8);
    out_.memory.reads = out_.reads_memory = !written;
    out_.memory.writes = out_.writes_memory = written;
    set_address(x, x.evex ? bits / 8 : 1, out_);
  }

 private:
  Insn& out_;
};

}  // namespace

FmaInfo fma_info(std::uint8_t opcode, bool wide) {
  constexpr FmaKind kinds[] = {FmaKind::fmadd, FmaKind::fmsub, FmaKind::fnmadd, FmaKind::fnmsub};
  const unsigned row = opcode >> 4, column = opcode & 15u;
  FmaInfo f;
  f.present = true;
  f.fp64 = wide;
  f.form = static_cast<std::uint8_t>(row - 9);
  if (column < 8) {
    f.kind = column == 6 ? FmaKind::fmaddsub : FmaKind::fmsubadd;
  } else {
    f.kind = kinds[(column - 8) / 2];
    f.scalar = column & 1;
  }
  return f;
}

std::uint8_t plain_length(const std::uint8_t* p, std::size_t n) {
  if (n < kMaxInstruction) return 0;
  const Prefix x = prefix_of(p);
  const std::uint8_t opcode = p[x.size];
  const ModRm modrm(p[x.size + 1]);
  if (!is_usual(x, kind_of(x, opcode), opcode, modrm.memory())) return 0;
  if (modrm.mod == 0 && (modrm.sib() ? p[x.size + 2] & 7u : modrm.rm) == kNoBase) return 0;
  const unsigned displacement = modrm.mod == 1 ? 1 : modrm.mod == 2 ? 4 : 0;
  return static_cast<std::uint8_t>(x.size + 2u + modrm.sib() + displacement);
}

bool decode_plain(const std::uint8_t* p, std::size_t n, Address at, Insn& out) {
  const std::uint8_t length = plain_length(p, n);
  if (length == 0) return false;
  const Prefix x = prefix_of(p);
  const std::uint8_t opcode = p[x.size];
  const ModRm modrm(p[x.size + 1]);
  const Kind kind = kind_of(x, opcode);
  out = Insn{};
  out.address = at;
  out.length = length;
  std::memcpy(out.bytes, p, length);
  out.encoding = x.evex ? Encoding::evex : Encoding::vex;
  out.modrm_offset = static_cast<std::uint8_t>(x.size + 1);
  out.condition = opcode & 15;
  out.vector_bits = x.bits;
  out.broadcast = x.broadcast;
  if (kind == Kind::fma) out.fma = fma_info(opcode, x.wide);
  else out.mnemonic = mnemonic_of(opcode);

  const unsigned reg = x.reg | modrm.reg, element = x.wide ? 64 : 32;
  Operands operands(out);
  switch (kind) {
    case Kind::fma:
      operands.vector(reg, true, true);
      operands.vector(x.second, true, false);
      if (modrm.memory()) operands.memory(x, x.broadcast || out.fma.scalar ? element : x.bits, false);
      else operands.vector(x.rm | modrm.rm, true, false);
      break;
    case Kind::store:
      operands.memory(x, x.bits, true);
      operands.vector(reg, true, false);
      break;
    default: operands.vector(reg, false, true); operands.memory(x, kind == Kind::broadcast ? element : x.bits, false);
  }
  return true;
}

}  // namespace fase::core
