// A small assembler for the instructions the emitter writes. Knows encodings, no policy. Checked against iced-x86 in tests/core.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "core/decode/decode.h"
#include "core/types.h"

namespace fase::core {

/// Base of a memory operand that refers to the constant pool; the displacement is the constant's index there.
inline constexpr std::uint8_t kPool = 0xfd;
/// The same for the pool of 64-bit constants.
inline constexpr std::uint8_t kPool64 = 0xfc;

/// A memory operand. base: GPR, kRip (disp is then the absolute target), kPool or kNoRegister.
struct Mem {
  Segment64 segment = Segment64::none;
  std::uint8_t base = kNoRegister;
  std::uint8_t index = kNoRegister;
  std::uint8_t scale = 1;
  std::int64_t disp = 0;

  static Mem fs(std::int32_t disp) { return {Segment64::fs, kNoRegister, kNoRegister, 1, disp}; }
  static Mem at(std::uint8_t base, std::int32_t disp) { return {Segment64::none, base, kNoRegister, 1, disp}; }
  static Mem of(const MemoryOperand& m) { return {m.segment, m.base, m.index, m.scale, m.disp}; }
  bool operator==(const Mem&) const = default;
};

/// Register or memory, the last operand of most instructions.
struct Rm {
  bool memory = false;
  bool broadcast = false;
  std::uint8_t reg = 0;
  Mem mem;
  Rm(int r) : reg(static_cast<std::uint8_t>(r)) {}
  Rm(const Mem& m, bool bcast = false) : memory(true), broadcast(bcast), mem(m) {}
};

/// How disp8 is scaled in EVEX: by the vector (or by an element under a broadcast), or by so many bytes.
enum class Tuple : std::uint8_t { full = 0, scalar = 4, two = 8, four = 16, eight = 32 };

/// Where the bit W is set: nowhere, in EVEX only (VEX ignores it, or wants it clear), in both.
enum class Wide : std::uint8_t { no, evex, both };

struct VectorOp {
  std::uint8_t map;  // 1: 0F, 2: 0F38, 3: 0F3A
  std::uint8_t pp;   // 0: none, 1: 66, 2: F3, 3: F2
  std::uint8_t opcode;
  bool evex_only = false;
  Tuple tuple = Tuple::full;
  Wide wide = Wide::no;
};

namespace op {
inline constexpr VectorOp vmovups_load{1, 0, 0x10};
inline constexpr VectorOp vmovups_store{1, 0, 0x11};
inline constexpr VectorOp vmovss{1, 2, 0x10, false, Tuple::scalar};
inline constexpr VectorOp vinsertps{3, 1, 0x21, false, Tuple::scalar};  // 128 bits
inline constexpr VectorOp vmovss_store{1, 2, 0x11, false, Tuple::scalar};
inline constexpr VectorOp vbroadcastss{2, 1, 0x18, false, Tuple::scalar};
inline constexpr VectorOp vbroadcast64{2, 1, 0x19, false, Tuple::two};  // vbroadcastsd; EVEX: vbroadcastf32x2. Not 128 bits wide
inline constexpr VectorOp vpand{1, 1, 0xdb};                            // EVEX: vpandd
inline constexpr VectorOp vpor{1, 1, 0xeb};
inline constexpr VectorOp vpaddd{1, 1, 0xfe};
inline constexpr VectorOp vpcmpgtd{1, 1, 0x66};   // VEX use only
inline constexpr VectorOp vblendvps{3, 1, 0x4a};  // VEX only; the last register is imm8[7:4]
inline constexpr VectorOp vpternlogd{3, 1, 0x25, true};
inline constexpr VectorOp vrangeps{3, 1, 0x50, true};  // used with {sae} only
inline constexpr VectorOp vfixupimmps{3, 1, 0x54, true};
inline constexpr VectorOp vpsrld_imm{1, 1, 0x72};  // reg field 2, destination in vvvv
inline constexpr VectorOp vpsrad_imm{1, 1, 0x72};  // reg field 4, destination in vvvv
inline constexpr VectorOp vpandn{1, 1, 0xdf};      // ~second & third
inline constexpr VectorOp vpxor{1, 1, 0xef};
inline constexpr VectorOp vpsubd{1, 1, 0xfa};
inline constexpr VectorOp vpcmpeqd{1, 1, 0x76};  // VEX use only
inline constexpr VectorOp vpminud{2, 1, 0x3b};
inline constexpr VectorOp vpmaxud{2, 1, 0x3f};
inline constexpr VectorOp vpmulld{2, 1, 0x40};
inline constexpr VectorOp vpsrlvd{2, 1, 0x45};
// VSIB: Mem::index is the number of a vector register, without bit 4, which goes to vvvv in EVEX; in VEX vvvv is the mask.
inline constexpr VectorOp vpgatherdd{2, 1, 0x90, false, Tuple::scalar};
inline constexpr VectorOp vpcmpd{3, 1, 0x1f, true};  // the destination is an opmask
inline constexpr VectorOp vpcmpud{3, 1, 0x1e, true};
inline constexpr VectorOp vptestmd{2, 1, 0x27, true};
inline constexpr VectorOp vaddps{1, 0, 0x58};
inline constexpr VectorOp vaddss{1, 2, 0x58, false, Tuple::scalar};
inline constexpr VectorOp vmulps{1, 0, 0x59};
inline constexpr VectorOp vsubps{1, 0, 0x5c};
inline constexpr VectorOp vcmpps{1, 0, 0xc2};    // EVEX: the destination is an opmask; used with {sae} only
inline constexpr VectorOp vroundps{3, 1, 0x08};  // EVEX: vrndscaleps
inline constexpr VectorOp vcvttps2dq{1, 2, 0x5b};
inline constexpr VectorOp vcvtdq2ps{1, 0, 0x5b};
inline constexpr VectorOp vinsertf32x8{3, 1, 0x1a, true, Tuple::eight};
inline constexpr VectorOp vextractf32x8{3, 1, 0x1b, true, Tuple::eight};  // the destination is the last operand
inline constexpr VectorOp vldmxcsr{1, 0, 0xae};                           // memory only; reg field 2
inline constexpr VectorOp vstmxcsr{1, 0, 0xae};                           // memory only; reg field 3
inline constexpr VectorOp vcvtps2ph{3, 1, 0x1d, true};                    // the destination is the last operand; used with {sae} only
inline constexpr VectorOp vcvtph2ps{2, 1, 0x13, true};
inline constexpr VectorOp vfpclassps{3, 1, 0x66, true};  // the destination is an opmask

// Elements of 64 bits: Tuple::two is one of them.
inline constexpr VectorOp vmovupd_load{1, 1, 0x10, false, Tuple::full, Wide::evex};
inline constexpr VectorOp vmovsd{1, 3, 0x10, false, Tuple::two, Wide::evex};
inline constexpr VectorOp vbroadcastsd{2, 1, 0x19, false, Tuple::two, Wide::evex};  // 256 and 512 bits
inline constexpr VectorOp vmovddup{1, 3, 0x12, false, Tuple::two, Wide::evex};      // used with 128 bits only
inline constexpr VectorOp vpandq{1, 1, 0xdb, false, Tuple::full, Wide::evex};
inline constexpr VectorOp vpandnq{1, 1, 0xdf, false, Tuple::full, Wide::evex};
inline constexpr VectorOp vporq{1, 1, 0xeb, false, Tuple::full, Wide::evex};
inline constexpr VectorOp vpxorq{1, 1, 0xef, false, Tuple::full, Wide::evex};
inline constexpr VectorOp vpaddq{1, 1, 0xd4, false, Tuple::full, Wide::evex};
inline constexpr VectorOp vpsubq{1, 1, 0xfb, false, Tuple::full, Wide::evex};
inline constexpr VectorOp vpsrlq_imm{1, 1, 0x73, false, Tuple::full, Wide::evex};  // reg field 2, destination in vvvv
inline constexpr VectorOp vpsraq_imm{1, 1, 0x72, true, Tuple::full, Wide::evex};   // reg field 4, destination in vvvv
inline constexpr VectorOp vpsllvq{2, 1, 0x47, false, Tuple::full, Wide::both};
inline constexpr VectorOp vpsrlvq{2, 1, 0x45, false, Tuple::full, Wide::both};
inline constexpr VectorOp vpcmpgtq{2, 1, 0x37};   // VEX use only
inline constexpr VectorOp vpcmpeqq{2, 1, 0x29};   // VEX use only
inline constexpr VectorOp vblendvpd{3, 1, 0x4b};  // VEX only; the last register is imm8[7:4]
inline constexpr VectorOp vpmaxuq{2, 1, 0x3f, true, Tuple::full, Wide::evex};
inline constexpr VectorOp vpminuq{2, 1, 0x3b, true, Tuple::full, Wide::evex};
inline constexpr VectorOp vpternlogq{3, 1, 0x25, true, Tuple::full, Wide::evex};
inline constexpr VectorOp vfixupimmpd{3, 1, 0x54, true, Tuple::full, Wide::evex};
inline constexpr VectorOp vaddpd{1, 1, 0x58, false, Tuple::full, Wide::evex};
inline constexpr VectorOp vsubpd{1, 1, 0x5c, false, Tuple::full, Wide::evex};
}  // namespace op

/// Modifiers of a vector instruction.
struct Mods {
  std::uint8_t mask = 0;
  bool zeroing = false;
  std::int16_t imm = -1;      // -1: none
  std::int8_t rounding = -1;  // {er}: L'L field; -1: none
};

class Assembler {
 public:
  Assembler(std::span<std::uint8_t> out, Address at) : out_(out), at_(at) {}

  std::uint32_t offset() const { return static_cast<std::uint32_t>(n_); }
  Address here() const { return at_ + n_; }
  std::uint32_t instructions() const { return instructions_; }
  bool overflow() const { return n_ > out_.size(); }
  bool unreachable() const { return unreachable_; }
  /// Starts over at the beginning of the buffer. `trial`: vector instructions are counted, not written; what was written before is not to be used.
  void reset(bool trial = false);

  /// VEX where it can (registers below 16, no mask, no broadcast, no rounding), else EVEX.
  void vector(const VectorOp& op, unsigned bits, int reg, int vvvv, const Rm& rm, const Mods& mods = {});

  void load(int gpr, const Mem& m) { integer(0x8b, gpr, m); }
  void store(const Mem& m, int gpr) { integer(0x89, gpr, m); }
  void lea(int gpr, const Mem& m) { integer(0x8d, gpr, m); }
  void inc(const Mem& m) { integer(0xff, 0, m); }
  void store_immediate(const Mem& m, std::int32_t value);  // 64 bits, sign-extended
  void set(int gpr, std::uint64_t value);                  // mov r64, imm64
  void load_opmask(int k, const Mem& m) { opmask(0x90, k, m); }
  void store_opmask(const Mem& m, int k) { opmask(0x91, k, m); }
  void fill_opmask(int k);                          // kxnorw: 16 ones
  void test_byte(const Mem& m, std::uint8_t bits);  // test byte, imm8
  void test_opmasks(int k, int l);                  // kortestw: ZF says that all 16 bits of both are zero

  void jump(Address target);  // jmp rel32
  void branch_back(unsigned condition, std::uint32_t label);
  void jump_back(std::uint32_t label);
  std::uint32_t branch_forward(unsigned condition);  // jcc rel32; returns what bind() wants
  std::uint32_t skip_unless_rcx_zero();              // touches no flag; returns what bind() wants
  void bind(std::uint32_t fixup);                    // the branch goes here
  void align(std::uint32_t to);                      // with long nops

  /// One instruction given as bytes.
  void raw(std::initializer_list<std::uint8_t> bytes);

  /// Copies a guest instruction; a RIP-relative operand keeps its target.
  void copy(const Insn& insn);

  /// Index of a 32-bit constant in the pool.
  std::uint32_t constant(std::uint32_t value) { return index_in(pool_, value); }
  /// Index of a 64-bit constant in the pool of those.
  std::uint32_t constant64(std::uint64_t value) { return index_in(pool64_, value); }
  /// Writes the pools (entries of `bytes` bytes, at least one constant, filled with copies of it) and patches all references to them.
  void write_pool(unsigned bytes);

 private:
  struct PoolReference {
    std::uint32_t disp_at, end;
    std::uint32_t index;
    bool wide;
  };
  template <class Word>
  static std::uint32_t index_in(std::vector<Word>& pool, Word value) {
    for (std::size_t i = 0; i < pool.size(); ++i)
      if (pool[i] == value) return static_cast<std::uint32_t>(i);
    pool.push_back(value);
    return static_cast<std::uint32_t>(pool.size() - 1);
  }
  template <class Word>
  void write_entries(const std::vector<Word>& pool, unsigned bytes, bool wide);
  void byte(unsigned b) {
    if (n_ < out_.size()) out_[n_] = static_cast<std::uint8_t>(b);
    ++n_;
  }
  void bytes(const void* from, std::size_t n);
  void dword(std::uint32_t v);
  void patch(std::uint32_t at, std::uint32_t v);
  void relative(Address target, std::uint32_t end);
  void integer(unsigned opcode, int reg, const Mem& m, unsigned trailing = 0);
  void opmask(unsigned opcode, int k, const Mem& m);  // kmovq
  void segment_prefix(const Mem& m);
  /// modrm, sib, displacement. `n`: disp8 scale; `trailing`: bytes of the instruction after the displacement.
  void operand(unsigned reg, const Rm& rm, unsigned n, unsigned trailing);
  void vex(const VectorOp& op, unsigned bits, unsigned reg, unsigned vvvv, const Rm& rm);
  void evex(const VectorOp& op, unsigned bits, unsigned reg, unsigned vvvv, const Rm& rm, const Mods& mods);

  std::span<std::uint8_t> out_;
  Address at_;
  std::size_t n_ = 0;
  std::uint32_t instructions_ = 0;
  bool unreachable_ = false;
  bool trial_ = false;
  std::vector<std::uint32_t> pool_;
  std::vector<std::uint64_t> pool64_;
  std::vector<PoolReference> references_;
};

}  // namespace fase::core
