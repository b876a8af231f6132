// Rounding a vector of FP32 lanes to a format, as instructions. Nothing here reads or changes MXCSR, RFLAGS or an opmask.
//
// Formats laid out as IEEE 754 with 8 exponent bits, to nearest even, use integer arithmetic (NUMERICS section 3):
//
//   s = x >> sh                 sh = 23 - m: the bits to drop
//   t = (s & 1) | x             a result that would be odd makes a tie look like more than a tie (sh >= 2; sh = 1: t = (s & 1) + x)
//   t = t + (2^(sh-1) - 1)
//   t = NaN(x) ? quiet(x) : t   left out where x cannot be a NaN off the grid
//   r = t & ~(2^sh - 1)
//
// FP16 has instructions of its own in AVX-512 ({sae}: no flags). Other short formats to nearest are in nearest.cpp, formats by table are looked up
// (table.cpp), everything else is in sequence.cpp.
#pragma once
#include <cstdint>

#include "core/assemble/assembler.h"
#include "core/numerics/operator.h"

namespace fase::core {

enum class Isa : std::uint8_t { avx2, avx512 };

/// {er} and {sae}: the L'L field.
inline constexpr std::int8_t kNearest = 0, kDown = 1, kUp = 2, kTruncate = 3, kSae = 2;
/// MXCSR: all exceptions masked, no flag set, subnormals kept; rounding to nearest even, and toward -inf.
inline constexpr std::uint32_t kMxcsrNearest = 0x1f80, kMxcsrDown = 0x3f80;

/// Finds a constant for an instruction, one in each lane of 32 or 64 bits: a register that holds it, or the pool.
class ConstantSource {
 public:
  virtual ~ConstantSource() = default;
  virtual Rm constant(std::uint32_t value) = 0;
  virtual Rm constant64(std::uint64_t value) = 0;
};

/// What is known of a number that is to be rounded.
struct Bounds {
  bool bounded = false;  // when finite it is far below 2^(105 + m)
  bool no_infinity = false, no_nan = false;
};

struct Rounder {
  Isa isa = Isa::avx512;
  Format format;
  bool nan_fix = true;  // the input may be a NaN that is not on the grid

  Bounds known;     // of the input
  int random = -1;  // stochastic rounding: a register with 32 random bits a lane, which are used up
  int gpr = -1;     // formats by table: a GPR
  int opmask = -1;  // and, in AVX-512, an opmask to use

  /// True when the emitter knows a sequence for this format.
  static bool supports(const Format& f);

  /// NaNs take an instruction of their own, which can be left out where the input is tested before.
  bool has_nan_instruction() const;

  /// The instructions are 512 bits wide whatever the width asked for: {er} and {sae} want it.
  bool always_512() const;

  /// Registers needed beside source and destination. `in_place`: destination = source.
  int temporaries(bool in_place) const;

  /// dst = round(src), `bits` wide. A merge mask on dst applies to the last instruction. Temporaries as asked for; all distinct.
  void emit(Assembler& a, ConstantSource& k, unsigned bits, int dst, int src, const int* temporary, unsigned mask = 0) const;

 private:
  enum class Way : std::uint8_t { bits, half, nearest, sequence };
  Way way() const;
  unsigned shift() const { return 23u - format.mantissa_bits; }
  std::uint32_t half_minus_one() const { return (1u << (shift() - 1)) - 1; }
  std::uint32_t keep() const { return ~((1u << shift()) - 1); }
  void emit512(Assembler& a, ConstantSource& k, unsigned bits, int dst, int src, int t, unsigned mask) const;
  void emit2(Assembler& a, ConstantSource& k, unsigned bits, int dst, int src, int t, int n) const;
};

}  // namespace fase::core
