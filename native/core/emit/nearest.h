// Short formats of less than binary32's range, to nearest even, with AVX-512. {er} and {sae} throughout: nothing depends on MXCSR, and what DAZ or FTZ
// would touch is far below the smallest step.
//
//   e = the larger of |x| and 1.5 * 2^emin, with the sign of x
//   c = e * 2^(23 - m)
//   t = (x - c) + c
//
// c has the sign of x, and its last bit has the weight of the format's last bit. So where x - c lies in the binade of c, it is x - c rounded to the
// format's steps, and the sum is exact. On a tie the last bit of x is zero, so c is an even number of steps, and ties go to even. Where x is a little above
// a power of two, x - c may lie in the binade below, where steps are half as large; but with m <= 10 such an x is nearer to the power of two than
// to anything else in either.
#pragma once
#include "core/emit/rounder.h"

namespace fase::core {

class Nearest {
 public:
  static constexpr int kTemporaries = 2;  // beside the register of the result

  static bool supports(const Format& f, Isa isa);

  struct Care {
    bool nan_fix, bounded, no_infinity, no_nan;  // as in Rounder
  };

  /// `t`: where the result grows, not x. `temporary`: kTemporaries registers.
  Nearest(Assembler& a, ConstantSource& k, const Format& f, Care care, unsigned bits, int x, int t, const int* temporary)
      : a_(a), k_(k), f_(f), care_(care), bits_(bits), x_(x), t_(t), e_(temporary[0]), y_(temporary[1]) {}

  /// Writes the sequence; the result goes to dst, which is x or t, under `mask` (x only).
  void emit(int dst, unsigned mask);

 private:
  void sum();
  void clamped();
  void replace_beyond();
  void cut_nan();
  void finish(int dst, int signs, unsigned mask);

  int held(std::uint32_t value, int spare);
  void range(int dst, int first, std::uint32_t limit, int control, int spare);
  void rounded(const VectorOp& op, int dst, int first, int last);
  void fixup(int dst, int by, std::uint32_t table);
  void merge_signs(int dst, int other, int imm, unsigned mask);

  Assembler& a_;
  ConstantSource& k_;
  const Format& f_;
  Care care_;
  unsigned bits_;
  int x_, t_, e_, y_;
};

}  // namespace fase::core
