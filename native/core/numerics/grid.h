// Which values a register is known to hold: a grid is named by the format whose values it consists of.
#pragma once
#include "core/numerics/operator.h"

namespace fase::core {

inline constexpr Format kAnyValue{8, 23};  // nothing known
inline constexpr Format kZeroValue{0, 0};  // +0: on every grid

/// Every value of `inner` is a value of `outer`. (All formats here have subnormals and quiet NaNs with cut payloads.)
constexpr bool within(Format inner, Format outer) { return inner.exponent_bits <= outer.exponent_bits && inner.mantissa_bits <= outer.mantissa_bits; }

/// The smallest known grid that holds both.
constexpr Format join(Format x, Format y) {
  if (within(x, y)) return y;
  return within(y, x) ? x : kAnyValue;
}

/// A vector register: its lowest FP32 lane, and all others up to MAXVL.
struct Grid {
  Format low = kAnyValue;
  Format rest = kAnyValue;
  constexpr Format all() const { return join(low, rest); }
  static constexpr Grid whole(Format f) { return {f, f}; }
  constexpr bool operator==(const Grid&) const = default;
};

}  // namespace fase::core
