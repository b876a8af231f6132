// Rounding a vector of FP64 lanes to a format on the binary64 grid, as instructions. Nothing here reads or changes MXCSR, RFLAGS or an opmask.
//
// The magnitude is rounded in one of two ways:
//
//   addition   AVX-512, to nearest even or toward zero, fewer exponent bits than binary64: c = 2^(52 - m + max(e, emin));  t = (|x| + c) - c  with {er}.
//              Subnormal inputs become zero, so that DAZ does not matter.
//   integers   everything else: a number to add to the encoding and a mask to cut it by. Where the target has fewer exponent bits, how many bits are
//              dropped depends on the lane: s = 52 - m + max(emin - e, 0), at most 52; what is below the smallest value is decided by comparison.
//
// Then, on the magnitude: inputs below `least`, values beyond the largest, infinities. Then the sign, NaNs, and zeros without sign.
#pragma once
#include "core/emit/rounder.h"

namespace fase::core {

class Rounder64 {
 public:
  static constexpr int kTemporaries = 2;  // beside the register of the result

  static bool supports(const Format64& f);

  /// `t`: where the result grows, not x. `temporary`: kTemporaries registers.
  Rounder64(Assembler& a, ConstantSource& k, Isa isa, const Format64& f, unsigned bits, int x, int t, const int* temporary)
      : a_(a), k_(k), format_(f), wide_(isa == Isa::avx512), bits_(bits), x_(x), t_(t), e_(temporary[0]), u_(temporary[1]) {}

  /// Writes the sequence; t holds the result.
  void emit();

 private:
  bool own_subnormals() const { return format_.min_exponent == -1022; }
  bool by_addition() const;
  void addition();
  void fixed_mask();
  void variable_mask();
  void integers(unsigned fixed);
  void add_to_even(unsigned fixed);
  void take_low();
  void to_odd();
  void cut_tiny();
  void zero_unless_above(std::uint64_t positive, std::uint64_t negative);
  void flush();
  void limit();
  void replace_beyond();
  void replace_infinities();
  void nans();
  void sign();

  // Instructions.
  void put(const VectorOp& op, int dst, int first, const Rm& last, const Mods& mods = {}) { a_.vector(op, bits_, dst, first, last, mods); }
  Rm lanes(std::uint64_t value) { return k_.constant64(value); }
  void shift_right(int dst, int src, unsigned n);
  void sign_mask(int dst, int src, int spare);
  void magnitude(int dst) { put(op::vpandq, dst, x_, lanes(kMagnitude64)); }
  void ones(int dst);
  void at_least(std::uint64_t value);
  bool mask_above(int dst, int value, std::uint64_t limit);
  void keep_where(int mask, bool inverted);
  void blend(int mask, bool inverted, const Rm& value);
  void pick_by_sign(int dst, int spare, std::uint64_t positive, std::uint64_t negative);

  std::uint64_t beyond(Beyond what, bool negative) const;
  Beyond overflow(bool negative) const;
  std::uint64_t largest(bool negative) const { return (negative ? format_.max_negative : format_.max_positive) & kMagnitude64; }
  unsigned dropped() const { return 52u - format_.mantissa_bits; }
  std::uint64_t low() const { return (std::uint64_t{1} << dropped()) - 1; }
  std::uint64_t payload() const { return ~(low() & ~kQuietBit64); }  // what is kept of a NaN
  static std::uint64_t power(int exponent) { return static_cast<std::uint64_t>(exponent + 1023) << 52; }

  Assembler& a_;
  ConstantSource& k_;
  const Format64& format_;
  bool wide_;
  unsigned bits_;
  int x_, t_, e_, u_;
};

}  // namespace fase::core
