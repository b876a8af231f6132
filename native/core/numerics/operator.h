// Number formats and operators as data: what crosses from Python to the emitters (docs/operators.md). The Python package holds the catalogue.
#pragma once
#include <cstdint>

namespace fase::core {

inline constexpr std::uint32_t kSignBit = 0x80000000, kMagnitude = 0x7fffffff, kInfinity = 0x7f800000, kQuietBit = 0x00400000, kQuietNan = 0x7fc00000;

enum class Rounding : std::uint8_t { rne, rtz, rup, rdn, rna, odd, sr };
/// What stands for a value beyond the largest finite one: an infinity, a NaN, the largest finite value.
enum class Beyond : std::uint8_t { infinity, nan, largest };
enum class NanRule : std::uint8_t { nan, zero, largest };

struct Lookup;

/// Values n * 2^(max(e, min_exponent) - mantissa_bits) on the binary32 grid, and what rounding to them means. Limits are binary32 encodings.
struct Format {
  std::uint8_t mantissa_bits = 23;  // without the hidden bit
  std::int16_t min_exponent = -126;
  std::uint32_t least = 0;  // inputs below become zero; 0: subnormals are kept
  std::uint32_t max_positive = 0x7f7fffff;
  std::uint32_t max_negative = 0xff7fffff;
  Beyond overflow = Beyond::infinity;
  Beyond infinity = Beyond::infinity;
  NanRule nan = NanRule::nan;
  bool signed_zero = true;
  Rounding rounding = Rounding::rne;
  std::uint8_t random_bits = 0;
  // Compound operators: the value is the sum of so many literals of this format; `literal` asks for one of them alone (-1: the sum).
  std::uint8_t literals = 1;
  std::int8_t literal = -1;
  // Formats given by their values: of the fields above only the policies and the largest values count.
  const Lookup* lookup = nullptr;
  bool holds_zero = true;     // +0 rounds to +0
  bool stable_lookup = true;  // see is_stable()

  constexpr bool operator==(const Format&) const = default;

  /// The grid of 8 exponent bits laid out as in IEEE 754: eight-bit exponent, `mantissa` bits.
  static constexpr Format ieee(unsigned mantissa) {
    Format f;
    f.mantissa_bits = static_cast<std::uint8_t>(mantissa);
    f.max_positive = kInfinity - (1u << (23 - mantissa));
    f.max_negative = f.max_positive | kSignBit;
    return f;
  }
  /// As ieee(), whatever the rounding.
  constexpr bool is_ieee() const {
    Format f = ieee(mantissa_bits);
    f.rounding = rounding;
    f.random_bits = random_bits;
    return *this == f;
  }
  /// Rounding a binary32 number to it changes nothing.
  constexpr bool is_fp32() const { return mantissa_bits == 23 && is_ieee(); }
  /// Rounding to it takes random bits.
  constexpr bool is_stochastic() const { return rounding == Rounding::sr && !is_fp32(); }
  /// Exponent of the unit in which subnormal values are counted.
  constexpr int quantum() const { return min_exponent - mantissa_bits; }
  /// A NaN or an infinity can come out of rounding.
  constexpr bool has_nan() const { return nan == NanRule::nan || overflow == Beyond::nan || infinity == Beyond::nan; }
  constexpr bool has_infinity() const { return overflow == Beyond::infinity || infinity == Beyond::infinity; }
  /// A single format on the grid: neither a sum of literals, nor one of them, nor a table.
  constexpr bool is_plain() const { return literals == 1 && literal < 0 && lookup == nullptr; }
  /// Literal number `i` of the sum alone; the format itself where it is no sum.
  constexpr Format only(int i) const {
    Format f = *this;
    if (literals > 1) f.literal = static_cast<std::int8_t>(i);
    return f;
  }
  /// Rounding twice is rounding once: false where an infinity or a NaN that comes out would not stay.
  constexpr bool is_stable() const {
    if (lookup != nullptr) return stable_lookup;
    const bool infinity_stays = overflow != Beyond::infinity || infinity == Beyond::infinity;
    return infinity_stays && (nan == NanRule::nan || (overflow != Beyond::nan && infinity != Beyond::nan));
  }
};

inline constexpr std::uint64_t kSignBit64 = 0x8000000000000000, kMagnitude64 = 0x7fffffffffffffff, kInfinity64 = 0x7ff0000000000000,
                               kQuietBit64 = 0x0008000000000000, kQuietNan64 = 0x7ff8000000000000;

/// As Format, on the binary64 grid. Deterministic roundings only.
struct Format64 {
  std::uint8_t mantissa_bits = 52;
  std::int16_t min_exponent = -1022;
  std::uint64_t least = 0;
  std::uint64_t max_positive = 0x7fefffffffffffff;
  std::uint64_t max_negative = 0xffefffffffffffff;
  Beyond overflow = Beyond::infinity;
  Beyond infinity = Beyond::infinity;
  NanRule nan = NanRule::nan;
  bool signed_zero = true;
  Rounding rounding = Rounding::rne;

  constexpr bool operator==(const Format64&) const = default;

  /// The grid of 11 exponent bits laid out as in IEEE 754.
  static constexpr Format64 ieee(unsigned mantissa) {
    Format64 f;
    f.mantissa_bits = static_cast<std::uint8_t>(mantissa);
    f.max_positive = kInfinity64 - (std::uint64_t{1} << (52 - mantissa));
    f.max_negative = f.max_positive | kSignBit64;
    return f;
  }
  /// Rounding a binary64 number to it changes nothing.
  constexpr bool is_native() const {
    Format64 f = ieee(52);
    f.rounding = rounding;
    return *this == f;
  }
  constexpr int quantum() const { return min_exponent - mantissa_bits; }
};

/// What double-precision FMAs compute; `active` false: they run as they are.
struct Operator64 {
  bool active = false;
  Format64 a, b, c, d;
  constexpr bool operator==(const Operator64&) const = default;
  constexpr bool is_identity() const { return a.is_native() && b.is_native() && c.is_native() && d.is_native(); }
};

/// D = A*B + C: the format each operand is rounded to. A and B are the factors, C the addend, whatever the instruction's 132/213/231 form.
/// In a compound operator the formats say how many literals each operand has, and the partial products are added one after the other.
struct Operator {
  Format a, b, c, d;
  bool exact = false;  // the sum is rounded once, to d
  struct Product {
    std::uint8_t a = 0, b = 0;  // literals
    constexpr bool operator==(const Product&) const = default;
  };
  Product products[9] = {};
  std::uint8_t product_count = 1;
  std::uint32_t chunk = 0;  // accumulations after which a loop's sums go to binary32 totals; 0: never
  std::uint32_t seed = 0;   // of stochastic rounding
  Operator64 fp64;

  constexpr bool operator==(const Operator&) const = default;
  /// Stochastic roundings that an instruction does before operand number `end` (0 to 3: a to d); with 4, all.
  constexpr unsigned draws(unsigned end = 4) const {
    const Format* all[] = {&a, &b, &c, &d};
    unsigned n = 0;
    for (unsigned i = 0; i < end; ++i) n += all[i]->is_stochastic();
    return n;
  }
  constexpr bool is_stochastic() const { return draws() > 0; }
  constexpr bool is_stable() const { return a.is_stable() && b.is_stable() && c.is_stable() && d.is_stable(); }
  constexpr bool has_table() const { return a.lookup != nullptr || b.lookup != nullptr || c.lookup != nullptr || d.lookup != nullptr; }
  constexpr bool is_compound() const { return a.literals > 1 || b.literals > 1 || c.literals > 1 || d.literals > 1; }
  /// Of single-precision FMAs.
  constexpr bool is_identity() const { return a.is_fp32() && b.is_fp32() && c.is_fp32() && d.is_fp32() && !(exact && d.rounding != Rounding::rne); }
};

}  // namespace fase::core
