// The general rounding sequence (nearest.h has a shorter one for some): any format on the binary32 grid, in all roundings (docs/operators.md has the
// meaning, step by step).
//
// The magnitude is rounded in one of four ways:
//
//   integers   formats whose smallest exponent is binary32's own, and those without mantissa bits: add and cut the encoding
//   addition   AVX-512: c = 2^(23 - m + max(e, emin));  t = (|x| + c) - c  with {er}, which neither reads nor changes MXCSR
//   scaling    t = rint(|x| * 2^(m - max(e, emin))) * 2^(max(e, emin) - m). Products are exact and normal, the immediate of vroundps says how to round and
//              suppresses its flag: nothing depends on MXCSR. |x| is first brought between an eighth of the smallest value and twice the largest.
//   shifting   stochastic rounding: the significand as an integer is shifted until the random bits stand right below its last bit to keep, they are added
//              and shifted out, and what is left becomes a float again by vcvtdq2ps, which is exact here
//
// Formats by table are looked up instead (table.cpp).
//
// Then, on the magnitude: inputs below `least`, values beyond the largest, infinities. Then the sign, NaNs, and zeros without sign.
#pragma once
#include "core/emit/rounder.h"

namespace fase::core {

class Sequence {
 public:
  static constexpr int kTemporaries = 2;  // of formats on the grid, beside the register of the result
  /// VEX gathers want a vector register as their mask.
  static int temporaries(const Format& f, Isa isa) { return kTemporaries + (f.lookup != nullptr && isa == Isa::avx2); }

  static bool supports(const Format& f);
  /// With AVX-512: as in Rounder.
  static bool always_512(const Format& f) { return way(f, Isa::avx512) == Way::addition; }

  struct Care {
    bool nan_fix, bounded;  // as in Rounder
    int random, gpr, opmask;
  };

  /// `t`: where the result grows, not x. `temporary`: as many registers as temporaries() says.
  Sequence(Assembler& a, ConstantSource& k, Isa isa, const Format& f, Care care, unsigned bits, int x, int t, const int* temporary);

  /// Writes the sequence; the result goes to dst under `mask`.
  void emit(int dst, unsigned mask);

 private:
  enum class Way : std::uint8_t { integers, addition, scaling, shifting, table };
  static Way way(const Format& f, Isa isa);

  void integers();
  void addition();
  void scaling();
  void shifting();
  void table(int dst, unsigned mask);
  void gather(int dst, int index, std::uint32_t at);
  void scaled_to_nearest_away();
  void scaled_to_odd();
  void floor_of_nonzero();
  void cut_tiny();
  void deliver(int dst, unsigned mask);
  void zero_unless_above(std::uint32_t positive, std::uint32_t negative);
  void flush();
  void limit();
  std::uint32_t over_factor() const;
  void replace_beyond();
  void replace_infinities();
  void replace_above(int tested, std::uint32_t limit, std::uint32_t by);
  void add_sign(int dst, unsigned mask);
  void nans();
  void cut_nan();
  void sign_of_zero();

  // Instructions.
  Rm constant(std::uint32_t v) { return k_.constant(v); }
  void op3(const VectorOp& op, int dst, int first, const Rm& last) { put({op, bits_, dst, first, last, {}, false}); }
  void op3(const VectorOp& op, int dst, int first, int last) { op3(op, dst, first, Rm(last)); }
  void op3(const VectorOp& op, int dst, int first, std::uint32_t value) { op3(op, dst, first, constant(value)); }
  void tied(const VectorOp& op, int dst, int second, const Rm& last, int imm) { put({op, bits_, dst, second, last, immediate(imm), true}); }
  void with_rounding(const VectorOp& op, int dst, int first, int last, int control) {
    put({op, 512, dst, first, last, {0, false, -1, static_cast<std::int8_t>(control)}, true});
  }
  void product_with_rounding(int dst, int first, std::uint32_t by, int spare);
  void shift_right(int dst, int src, unsigned n, bool arithmetic);
  void pick_by_sign(int dst, std::uint32_t positive, std::uint32_t negative);
  void magnitude(int dst) { op3(op::vpand, dst, x_, kMagnitude); }
  void blend(int by_mask, const Rm& value);
  static Mods immediate(int value) { return {0, false, static_cast<std::int16_t>(value), -1}; }

  /// The last instruction is held back: it may get another destination.
  struct Instruction {
    VectorOp op;
    unsigned bits;
    int dst, first;
    Rm last;
    Mods mods;
    bool fixed;  // its destination cannot be changed
  };
  void put(const Instruction& next);
  void flush_pending();

  std::uint32_t beyond(Beyond what, bool negative) const;
  Beyond overflow(bool negative) const;
  std::uint32_t largest(bool negative) const { return (negative ? format_.max_negative : format_.max_positive) & kMagnitude; }
  std::uint32_t low() const { return (1u << (23 - format_.mantissa_bits)) - 1; }
  std::uint32_t keep_random(unsigned dropped) const { return ~((1u << (dropped - format_.random_bits)) - 1); }
  std::uint32_t payload() const { return ~(low() & ~kQuietBit); }  // what is kept of a NaN
  std::uint32_t smallest_normal() const { return static_cast<std::uint32_t>(format_.min_exponent + 127) << 23; }
  bool wide() const { return isa_ == Isa::avx512; }

  Assembler& a_;
  ConstantSource& k_;
  Isa isa_;
  const Format& format_;
  bool nan_fix_, bounded_;
  int random_, gpr_, opmask_;
  unsigned bits_;
  int x_, t_, e_, u_, v_;
  bool keeps_nan_ = false;  // t holds the NaN of a NaN input
  bool pending_ = false;
  Instruction last_{op::vpand, 0, 0, 0, 0, {}, false};
};

}  // namespace fase::core
