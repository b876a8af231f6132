// Number formats and operators as data. The Python package holds the catalogue; this is what crosses to the emitter.
#pragma once
#include <cstdint>

namespace fase::core {

/// A binary floating-point format on the FP32 grid. Everything else about it is derived.
struct Format {
  std::uint8_t exponent_bits = 8;
  std::uint8_t mantissa_bits = 23;  // without the hidden bit
  constexpr bool is_fp32() const { return exponent_bits == 8 && mantissa_bits == 23; }
  constexpr bool operator==(const Format&) const = default;
};

enum class Rounding : std::uint8_t { nearest_even };

/// D = A*B + C: the format each operand is rounded to. A and B are the factors, C the addend, whatever the instruction's 132/213/231 form.
struct Operator {
  Format a, b, c, d;
  Rounding rounding = Rounding::nearest_even;
  constexpr bool is_identity() const { return a.is_fp32() && b.is_fp32() && c.is_fp32() && d.is_fp32(); }
};

}  // namespace fase::core
