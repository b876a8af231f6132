// Which values a register is known to hold: a grid is named by the format whose values it consists of.
#pragma once
#include "core/numerics/operator.h"

namespace fase::core {

inline constexpr Format kAnyValue{};  // nothing known
/// +0: on every grid that holds it.
inline constexpr Format kZeroValue{.mantissa_bits = 0, .min_exponent = 127, .least = 0, .max_positive = 0, .max_negative = 0};

/// Every value that rounding to `inner` can give is left as it is by rounding to `outer`.
constexpr bool within(const Format& inner, const Format& outer) {
  if (inner == outer || outer.is_fp32()) return true;  // first: what is asked most
  if (inner == kZeroValue) return outer.holds_zero;
  if (!inner.is_plain() || !outer.is_plain()) return false;
  if (inner.mantissa_bits > outer.mantissa_bits || inner.quantum() < outer.quantum()) return false;
  if (inner.max_positive > outer.max_positive || inner.max_negative > outer.max_negative) return false;
  if (outer.least != 0 && !(inner.least == outer.least && inner.min_exponent == outer.min_exponent && inner.mantissa_bits == outer.mantissa_bits)) {
    const int smallest = inner.quantum();
    if (smallest < -126 || static_cast<std::uint32_t>(smallest + 127) << 23 < outer.least) return false;
  }
  if (inner.has_infinity() && outer.infinity != Beyond::infinity) return false;
  if (inner.has_nan() && outer.nan != NanRule::nan) return false;
  return outer.signed_zero || !inner.signed_zero;
}

/// The smallest known grid that holds both.
constexpr Format join(const Format& x, const Format& y) {
  if (within(x, y)) return y;
  return within(y, x) ? x : kAnyValue;
}

/// A vector register: its lowest FP32 lane, and all others up to MAXVL.
struct Grid {
  Format low = kAnyValue;
  Format rest = kAnyValue;
  constexpr Format all() const { return join(low, rest); }
  static constexpr Grid whole(const Format& f) { return {f, f}; }
  constexpr bool operator==(const Grid&) const = default;
};

}  // namespace fase::core
