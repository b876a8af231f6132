#include "core/decode/fma.h"

#include <cstring>

#include "core/discover/pattern.h"

namespace fase::core {
namespace {

constexpr std::uint8_t kVex = 0xc4;
constexpr std::size_t kVexPrefix = 3, kEvexPrefix = 4;
constexpr unsigned kSibFollows = 4, kNoIndex = 4, kNoBase = 5;  // in rm, index and base

struct ModRm {
  explicit ModRm(std::uint8_t byte) : mod(byte >> 6), reg(byte >> 3 & 7), rm(byte & 7) {}
  unsigned mod, reg, rm;
};

std::size_t modrm_at(const std::uint8_t* p) { return (p[0] == kVex ? kVexPrefix : kEvexPrefix) + 1; }

/// VEX with L, EVEX with a mask, {z}, L'L = 3, or with L'L or b where they mean something else.
bool unusual(const std::uint8_t* p, bool scalar, bool memory) {
  if (p[0] == kVex) return scalar && (p[2] & 4);
  const bool broadcast = p[3] & 0x10;
  const unsigned length = p[3] >> 5 & 3;
  if ((p[3] & 0x87) != 0 || length == 3) return true;
  return scalar ? broadcast || length != 0 : broadcast && !memory;
}

void add_gpr(RegisterSet& set, std::uint8_t g) { set.gprs |= static_cast<std::uint16_t>(1u << g); }

/// `n`: what an 8-bit displacement is counted in. `high`: bits 3 of base and index.
void set_memory(const std::uint8_t* p, unsigned n, unsigned high_base, unsigned high_index, Insn& out) {
  const ModRm modrm(p[out.modrm_offset]);
  const bool sib = modrm.rm == kSibFollows;
  MemoryOperand& m = out.memory;
  m.present = m.reads = out.reads_memory = true;
  m.base = static_cast<std::uint8_t>(high_base | modrm.rm);
  if (sib) {
    const ModRm s(p[out.modrm_offset + 1]);
    m.base = static_cast<std::uint8_t>(high_base | s.rm);
    if ((high_index | s.reg) != kNoIndex) {
      m.index = static_cast<std::uint8_t>(high_index | s.reg);
      m.scale = static_cast<std::uint8_t>(1u << s.mod);
      add_gpr(out.reads, m.index);
    }
  }
  add_gpr(out.reads, m.base);
  if (modrm.mod == 0) return;
  out.disp_offset = static_cast<std::uint8_t>(out.modrm_offset + 1u + sib);
  out.disp_bytes = modrm.mod == 1 ? 1 : 4;
  std::int32_t wide;
  std::memcpy(&wide, p + out.disp_offset, out.disp_bytes == 1 ? 1 : sizeof wide);
  m.disp = out.disp_bytes == 1 ? std::int64_t{static_cast<std::int8_t>(p[out.disp_offset])} * n : wide;
}

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

std::uint8_t plain_fma_length(const std::uint8_t* p, std::size_t n) {
  if (n < kMaxInstruction || !fma_pattern(p)) return 0;
  const std::size_t at = modrm_at(p);
  const ModRm modrm(p[at]);
  const bool memory = modrm.mod != 3, sib = memory && modrm.rm == kSibFollows;
  const bool scalar = fma_info(p[at - 1], false).scalar;
  if (unusual(p, scalar, memory)) return 0;
  if (modrm.mod == 0 && (sib ? p[at + 1] & 7u : modrm.rm) == kNoBase) return 0;
  const std::size_t displacement = modrm.mod == 1 ? 1 : modrm.mod == 2 ? 4 : 0;
  return static_cast<std::uint8_t>(at + 1 + sib + displacement);
}

bool decode_plain_fma(const std::uint8_t* p, std::size_t n, Address at, Insn& out) {
  const std::uint8_t length = plain_fma_length(p, n);
  if (length == 0) return false;
  out = Insn{};
  out.address = at;
  out.length = length;
  std::memcpy(out.bytes, p, length);
  const bool evex = p[0] != kVex;
  out.encoding = evex ? Encoding::evex : Encoding::vex;
  out.modrm_offset = static_cast<std::uint8_t>(modrm_at(p));
  out.fma = fma_info(p[out.modrm_offset - 1], p[2] >> 7);
  out.vector_bits = static_cast<std::uint16_t>(evex ? 128u << (p[3] >> 5 & 3) : p[2] & 4 ? 256 : 128);
  out.condition = p[out.modrm_offset - 1] & 15;
  const ModRm modrm(p[out.modrm_offset]);
  out.broadcast = evex && (p[3] & 0x10);

  // R, X, B, R', V' and vvvv are inverted.
  const auto clear = [p](int byte, int bit, unsigned value) { return p[byte] >> bit & 1 ? 0 : value; };
  const unsigned element = out.fma.fp64 ? 64 : 32;
  const unsigned reg = modrm.reg | clear(1, 7, 8) | (evex ? clear(1, 4, 16) : 0);
  const unsigned second = (~p[2] >> 3 & 15) | (evex ? clear(3, 3, 16) : 0);
  const auto vector = [&](unsigned r) { return Operand{OperandKind::vector, static_cast<std::uint8_t>(r), out.vector_bits}; };
  out.operand_count = 3;
  out.operands[0] = vector(reg);
  out.operands[1] = vector(second);
  out.reads.vectors = 1u << reg | 1u << second;
  out.writes.vectors = out.kills.vectors = 1u << reg;
  if (modrm.mod == 3) {
    const unsigned third = modrm.rm | clear(1, 5, 8) | (evex ? clear(1, 6, 16) : 0);
    out.operands[2] = vector(third);
    out.reads.vectors |= 1u << third;
  } else {
    const unsigned read = out.broadcast || out.fma.scalar ? element : out.vector_bits;
    out.operands[2] = {OperandKind::memory, 0, static_cast<std::uint16_t>(read)};
    out.memory.bytes = static_cast<std::uint16_t>(read / 8);
    set_memory(p, evex ? read / 8 : 1, clear(1, 5, 8), clear(1, 6, 8), out);
  }
  return true;
}

}  // namespace fase::core
