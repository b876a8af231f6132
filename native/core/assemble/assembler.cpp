#include "core/assemble/assembler.h"

#include <bit>
#include <cstring>

namespace fase::core {
namespace {

constexpr bool is_gpr(std::uint8_t r) { return r < 16; }
constexpr unsigned high(std::uint8_t r) { return is_gpr(r) ? (r >> 3) & 1 : 0; }
constexpr unsigned log2_scale(std::uint8_t s) { return s == 8 ? 3 : s == 4 ? 2 : s == 2 ? 1 : 0; }
constexpr bool fits8(std::int64_t v) { return v >= -128 && v <= 127; }
constexpr bool fits32(std::int64_t v) { return v >= INT32_MIN && v <= INT32_MAX; }

}  // namespace

void Assembler::reset(bool trial) {
  trial_ = trial;
  n_ = 0;
  instructions_ = 0;
  unreachable_ = false;
  pool_.clear();
  pool64_.clear();
  references_.clear();
}

void Assembler::dword(std::uint32_t v) { bytes(&v, 4); }

void Assembler::bytes(const void* from, std::size_t n) {
  if (n_ + n <= out_.size()) std::memcpy(out_.data() + n_, from, n);
  n_ += n;
}

void Assembler::patch(std::uint32_t at, std::uint32_t v) {
  if (at + 4 <= out_.size()) std::memcpy(out_.data() + at, &v, 4);
}

void Assembler::relative(Address target, std::uint32_t end) {
  const auto d = static_cast<std::int64_t>(target - (at_ + end));
  if (!fits32(d)) unreachable_ = true;
  dword(static_cast<std::uint32_t>(d));
}

void Assembler::segment_prefix(const Mem& m) {
  if (m.segment == Segment64::fs) byte(0x64);
  if (m.segment == Segment64::gs) byte(0x65);
}

void Assembler::operand(unsigned reg, const Rm& rm, unsigned n, unsigned trailing) {
  const unsigned r = (reg & 7) << 3;
  if (!rm.memory) return byte(0xc0 | r | (rm.reg & 7));
  const Mem& m = rm.mem;
  if (m.base == kRip || m.base == kPool || m.base == kPool64) {
    byte(0x05 | r);
    const auto end = static_cast<std::uint32_t>(n_ + 4 + trailing);
    if (m.base == kRip) return relative(static_cast<Address>(m.disp), end);
    references_.push_back({static_cast<std::uint32_t>(n_), end, static_cast<std::uint32_t>(m.disp), m.base == kPool64});
    return dword(0);
  }
  const auto disp = static_cast<std::uint32_t>(m.disp);
  if (!fits32(m.disp)) unreachable_ = true;
  const unsigned index = m.index == kNoRegister ? 4 : m.index & 7;
  if (m.base == kNoRegister) {
    byte(0x04 | r);
    byte(log2_scale(m.scale) << 6 | index << 3 | 5);
    return dword(disp);
  }
  const std::int64_t scaled = m.disp >> std::countr_zero(n);
  const bool small = (m.disp & (n - 1)) == 0 && fits8(scaled);
  const unsigned mod = m.disp == 0 && (m.base & 7) != 5 ? 0x00 : small ? 0x40 : 0x80;
  if (m.index != kNoRegister || (m.base & 7) == 4) {
    byte(mod | r | 4);
    byte(log2_scale(m.scale) << 6 | index << 3 | (m.base & 7));
  } else {
    byte(mod | r | (m.base & 7));
  }
  if (mod == 0x40) byte(static_cast<unsigned>(scaled) & 0xff);
  if (mod == 0x80) dword(disp);
}

void Assembler::vex(const VectorOp& op, unsigned bits, unsigned reg, unsigned vvvv, const Rm& rm) {
  const unsigned r = reg >> 3 & 1;
  const unsigned x = rm.memory ? high(rm.mem.index) : 0;
  const unsigned b = rm.memory ? high(rm.mem.base) : rm.reg >> 3 & 1;
  const bool w = op.wide == Wide::both;
  const unsigned last = static_cast<unsigned>(w) << 7 | (~vvvv & 15) << 3 | (bits == 256 ? 4 : 0) | op.pp;
  if (op.map == 1 && !x && !b && !w) {
    byte(0xc5);
    byte((r ^ 1) << 7 | last);
  } else {
    byte(0xc4);
    byte((r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | op.map);
    byte(last);
  }
}

void Assembler::evex(const VectorOp& op, unsigned bits, unsigned reg, unsigned vvvv, const Rm& rm, const Mods& mods) {
  const unsigned x = rm.memory ? high(rm.mem.index) : rm.reg >> 4 & 1;
  const unsigned b = rm.memory ? high(rm.mem.base) : rm.reg >> 3 & 1;
  const unsigned length = mods.rounding >= 0 ? static_cast<unsigned>(mods.rounding) : bits == 512 ? 2 : bits == 256 ? 1 : 0;
  const bool control = rm.broadcast || mods.rounding >= 0;
  const unsigned p0 = (~reg >> 3 & 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | (~reg >> 4 & 1) << 4 | op.map;
  const unsigned p1 = static_cast<unsigned>(op.wide != Wide::no) << 7 | (~vvvv & 15) << 3 | 4 | op.pp;
  const unsigned p2 =
      static_cast<unsigned>(mods.zeroing) << 7 | length << 5 | static_cast<unsigned>(control) << 4 | (~vvvv >> 4 & 1) << 3 | mods.mask;
  dword(0x62 | p0 << 8 | p1 << 16 | p2 << 24);
}

void Assembler::vector(const VectorOp& op, unsigned bits, int reg, int vvvv, const Rm& rm, const Mods& mods) {
  ++instructions_;
  if (trial_) return;
  const bool needs_evex =
      op.evex_only || bits == 512 || reg > 15 || vvvv > 15 || (!rm.memory && rm.reg > 15) || mods.mask || mods.rounding >= 0 || rm.broadcast;
  if (rm.memory) segment_prefix(rm.mem);
  unsigned n = 1;
  if (needs_evex) {
    evex(op, bits, static_cast<unsigned>(reg), static_cast<unsigned>(vvvv), rm, mods);
    const unsigned element = op.wide == Wide::no ? 4 : 8;
    n = rm.broadcast ? element : op.tuple == Tuple::full ? bits / 8 : static_cast<unsigned>(op.tuple);
  } else {
    vex(op, bits, static_cast<unsigned>(reg), static_cast<unsigned>(vvvv), rm);
  }
  byte(op.opcode);
  operand(static_cast<unsigned>(reg), rm, n, mods.imm >= 0 ? 1 : 0);
  if (mods.imm >= 0) byte(static_cast<unsigned>(mods.imm));
}

void Assembler::integer(unsigned opcode, int reg, const Mem& m, unsigned trailing) {
  ++instructions_;
  segment_prefix(m);
  byte(0x48 | (static_cast<unsigned>(reg) >> 3 & 1) << 2 | high(m.index) << 1 | high(m.base));
  byte(opcode);
  operand(static_cast<unsigned>(reg), m, 1, trailing);
}

void Assembler::store_immediate(const Mem& m, std::int32_t value) {
  integer(0xc7, 0, m, 4);
  dword(static_cast<std::uint32_t>(value));
}

void Assembler::test_byte(const Mem& m, std::uint8_t bits) {
  integer(0xf6, 0, m, 1);
  byte(bits);
}

void Assembler::set(int gpr, std::uint64_t value) {
  ++instructions_;
  byte(0x48 | static_cast<unsigned>(gpr) >> 3);
  byte(0xb8 | (static_cast<unsigned>(gpr) & 7));
  dword(static_cast<std::uint32_t>(value));
  dword(static_cast<std::uint32_t>(value >> 32));
}

void Assembler::opmask(unsigned opcode, int k, const Mem& m) {
  ++instructions_;
  segment_prefix(m);
  byte(0xc4);
  byte((high(m.index) ^ 1) << 6 | (high(m.base) ^ 1) << 5 | 0x81);
  byte(0xf8);
  byte(opcode);
  operand(static_cast<unsigned>(k), m, 1, 0);
}

void Assembler::fill_opmask(int k) {
  const auto n = static_cast<unsigned>(k);
  raw({0xc5, static_cast<std::uint8_t>(0x84 | (~n & 15) << 3), 0x46, static_cast<std::uint8_t>(0xc0 | n << 3 | n)});
}

void Assembler::test_opmasks(int k, int l) { raw({0xc5, 0xf8, 0x98, static_cast<std::uint8_t>(0xc0 | k << 3 | l)}); }

void Assembler::jump(Address target) {
  ++instructions_;
  byte(0xe9);
  relative(target, static_cast<std::uint32_t>(n_ + 4));
}

void Assembler::branch_back(unsigned condition, std::uint32_t label) {
  ++instructions_;
  byte(0x0f);
  byte(0x80 | condition);
  dword(static_cast<std::uint32_t>(label - (n_ + 4)));
}

void Assembler::jump_back(std::uint32_t label) {
  ++instructions_;
  byte(0xe9);
  dword(static_cast<std::uint32_t>(label - (n_ + 4)));
}

std::uint32_t Assembler::branch_forward(unsigned condition) {
  ++instructions_;
  byte(0x0f);
  byte(0x80 | condition);
  dword(0);
  return static_cast<std::uint32_t>(n_ - 4);
}

std::uint32_t Assembler::skip_unless_rcx_zero() {
  instructions_ += 2;
  for (const unsigned b : {0xe3, 5, 0xe9}) byte(b);  // jrcxz over the jmp
  dword(0);
  return static_cast<std::uint32_t>(n_ - 4);
}

void Assembler::bind(std::uint32_t fixup) { patch(fixup, static_cast<std::uint32_t>(n_ - (fixup + 4))); }

void Assembler::align(std::uint32_t to) {
  static constexpr std::uint8_t nops[9][9] = {{0x90},
                                              {0x66, 0x90},
                                              {0x0f, 0x1f, 0x00},
                                              {0x0f, 0x1f, 0x40, 0x00},
                                              {0x0f, 0x1f, 0x44, 0, 0},
                                              {0x66, 0x0f, 0x1f, 0x44, 0, 0},
                                              {0x0f, 0x1f, 0x80, 0, 0, 0, 0},
                                              {0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
                                              {0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}};
  std::size_t gap = (to - here() % to) % to;
  while (gap > 0) {
    const std::size_t k = gap < 9 ? gap : 9;
    for (std::size_t i = 0; i < k; ++i) byte(nops[k - 1][i]);
    gap -= k;
  }
}

void Assembler::raw(std::initializer_list<std::uint8_t> bytes) {
  ++instructions_;
  for (const std::uint8_t b : bytes) byte(b);
}

void Assembler::copy(const Insn& insn) {
  ++instructions_;
  if (!insn.rip_relative()) return bytes(insn.bytes, insn.length);
  const std::size_t start = n_;
  bytes(insn.bytes, insn.disp_offset);
  relative(static_cast<Address>(insn.memory.disp), static_cast<std::uint32_t>(start + insn.length));
  const unsigned behind = insn.disp_offset + 4u;
  bytes(insn.bytes + behind, insn.length - behind);
}

template <class Word>
void Assembler::write_entries(const std::vector<Word>& pool, unsigned bytes, bool wide) {
  if (pool.empty()) return;
  while (here() % bytes) byte(0xcc);
  const auto start = static_cast<std::uint32_t>(n_);
  for (const Word v : pool)
    for (unsigned i = 0; i < bytes / 4; ++i) dword(static_cast<std::uint32_t>(static_cast<std::uint64_t>(v) >> (wide && i % 2 ? 32 : 0)));
  for (const PoolReference& r : references_)
    if (r.wide == wide) patch(r.disp_at, start + r.index * bytes - r.end);
}

void Assembler::write_pool(unsigned bytes) {
  write_entries(pool_, bytes, false);
  write_entries(pool64_, bytes < 8 ? 8 : bytes, true);
}

}  // namespace fase::core
