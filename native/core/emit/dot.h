// VDPBF16PS under an operator (docs/operators.md): each of its two multiply-adds a lane, odd pair first, becomes one of the operator. The instruction
// takes subnormals for zeros and gives zeros for them, so that all its operands and results are on grids without subnormals.
#pragma once
#include <algorithm>

#include "core/numerics/grid.h"

namespace fase::core {

struct DotOperator {
  /// What each operand is rounded to; binary32 where the instruction itself does all there is to do.
  Format a, b, c, d;
  /// The grid of results.
  Format result;

  DotOperator() = default;
  explicit DotOperator(const Operator& op)
      : a(factor(op.a)), b(factor(op.b)), c(without_subnormals(op.c)), d(op.d), result(without_subnormals(op.d)) {}

  bool is_identity() const { return a.is_fp32() && b.is_fp32() && !rounds_sums(); }
  bool rounds_sums() const { return !c.is_fp32() || !d.is_fp32(); }

  /// Rounding a BF16 value to `f` gives a BF16 value: the emitter hands rounded factors to the instruction again.
  static constexpr bool rounds_to_bf16(const Format& f) {
    if (f.mantissa_bits <= kMantissa || keeps_bf16(f)) return true;
    const bool inward = f.rounding == Rounding::rtz || f.rounding == Rounding::odd || f.rounding == Rounding::rup || f.rounding == Rounding::rdn;
    const bool ends = inward || f.overflow == Beyond::largest || f.infinity == Beyond::largest || f.nan == NanRule::largest;
    return !ends || ((f.max_positive | f.max_negative) & kDropped) == 0;
  }

  static constexpr Format without_subnormals(Format f) {
    if (!f.is_fp32()) f.least = std::max(f.least, kSmallestNormal);
    return f;
  }

 private:
  static constexpr unsigned kMantissa = 7;
  static constexpr std::uint32_t kSmallestNormal = 0x00800000, kDropped = 0x0000ffff;

  /// Rounding changes no BF16 value that the instruction sees.
  static constexpr bool keeps_bf16(const Format& f) { return within(without_subnormals(Format::ieee(kMantissa)), f); }
  static constexpr Format factor(const Format& f) { return keeps_bf16(f) ? kAnyValue : without_subnormals(f); }
};

}  // namespace fase::core
