#include "core/emit/rounder.h"

#include "core/emit/nearest.h"
#include "core/emit/sequence.h"

namespace fase::core {
namespace {

// vfixupimmps: four bits per class of number, QNaN and SNaN lowest. 2: the quieted source; 0: the destination stays.
constexpr std::uint32_t kQuietNans = 0x22;
// vpternlogd dst, b, c: (dst & c) | b
constexpr std::int16_t kAndOr = 0xec;

Mods imm(std::int16_t value, unsigned mask = 0) { return {static_cast<std::uint8_t>(mask), false, value, -1}; }

/// IEEE binary16, which vcvtps2ph rounds to. Subnormal inputs become zero in both roundings, so that DAZ does not matter.
bool is_half(const Format& f) {
  Format half;
  half.mantissa_bits = 10;
  half.min_exponent = -14;
  half.max_positive = 0x477fe000;
  half.max_negative = 0xc77fe000;
  half.rounding = f.rounding;
  return f == half && (f.rounding == Rounding::rne || f.rounding == Rounding::rtz);
}

}  // namespace

bool Rounder::supports(const Format& f) { return f.lookup != nullptr || f.is_fp32() || Sequence::supports(f); }

Rounder::Way Rounder::way() const {
  if (format.is_ieee() && format.rounding == Rounding::rne && format.mantissa_bits >= 1) return Way::bits;
  if (isa == Isa::avx512 && is_half(format)) return Way::half;
  return Nearest::supports(format, isa) ? Way::nearest : Way::sequence;
}

bool Rounder::always_512() const {
  if (format.is_fp32() || isa != Isa::avx512) return false;
  return way() == Way::half || way() == Way::nearest || (way() == Way::sequence && Sequence::always_512(format));
}

bool Rounder::has_nan_instruction() const { return nan_fix && isa == Isa::avx512 && !format.is_fp32() && way() == Way::bits; }

int Rounder::temporaries(bool in_place) const {
  if (format.is_fp32()) return 0;
  switch (way()) {
    case Way::bits:
      if (isa == Isa::avx512) return in_place ? 1 : 0;
      return (in_place ? 1 : 0) + (nan_fix ? 1 : 0);
    case Way::half: return in_place ? 1 : 0;
    case Way::nearest: return Nearest::kTemporaries + (in_place ? 1 : 0);
    default: return Sequence::temporaries(format, isa) + (in_place ? 1 : 0);
  }
}

void Rounder::emit512(Assembler& a, ConstantSource& k, unsigned bits, int dst, int src, int t, unsigned mask) const {
  a.vector(op::vpsrld_imm, bits, 2, t, src, imm(static_cast<std::int16_t>(shift())));
  if (shift() > 1) {
    a.vector(op::vpternlogd, bits, t, src, k.constant(1), imm(kAndOr));
    a.vector(op::vpaddd, bits, t, t, k.constant(half_minus_one()));
  } else {
    a.vector(op::vpand, bits, t, t, k.constant(1));
    a.vector(op::vpaddd, bits, t, t, src);
  }
  if (nan_fix) a.vector(op::vfixupimmps, bits, t, src, k.constant(kQuietNans), imm(0));
  a.vector(op::vpand, bits, dst, t, k.constant(keep()), {static_cast<std::uint8_t>(mask), false, -1, -1});
}

void Rounder::emit2(Assembler& a, ConstantSource& k, unsigned bits, int dst, int src, int t, int n) const {
  if (nan_fix) {
    a.vector(op::vpand, bits, n, src, k.constant(kMagnitude));
    a.vector(op::vpcmpgtd, bits, n, n, k.constant(kInfinity));
  }
  a.vector(op::vpsrld_imm, bits, 2, t, src, imm(static_cast<std::int16_t>(shift())));
  a.vector(op::vpand, bits, t, t, k.constant(1));
  if (shift() > 1) {
    a.vector(op::vpor, bits, t, t, src);
    a.vector(op::vpaddd, bits, t, t, k.constant(half_minus_one()));
  } else {
    a.vector(op::vpaddd, bits, t, t, src);
  }
  if (nan_fix) {
    a.vector(op::vblendvps, bits, t, t, src, imm(static_cast<std::int16_t>(n << 4)));
    a.vector(op::vpand, bits, n, n, k.constant(kQuietBit));
    a.vector(op::vpor, bits, t, t, n);
  }
  a.vector(op::vpand, bits, dst, t, k.constant(keep()));
}

void Rounder::emit(Assembler& a, ConstantSource& k, unsigned bits, int dst, int src, const int* temporary, unsigned mask) const {
  const bool in_place = dst == src;
  const int t = in_place ? *temporary++ : dst;
  switch (way()) {
    case Way::bits:
      if (isa == Isa::avx512) return emit512(a, k, bits, dst, src, t, mask);
      return emit2(a, k, bits, dst, src, t, nan_fix ? *temporary : -1);
    case Way::half:
      a.vector(op::vcvtps2ph, 512, src, 0, t, {0, false, format.rounding == Rounding::rne ? std::int16_t{0} : std::int16_t{3}, kSae});
      a.vector(op::vcvtph2ps, bits, dst, 0, t, {static_cast<std::uint8_t>(mask), false, -1, -1});
      return;
    case Way::nearest:
      return Nearest(a, k, format, {nan_fix, known.bounded, known.no_infinity, known.no_nan}, bits, src, t, temporary).emit(dst, mask);
    default: Sequence(a, k, isa, format, {nan_fix, known.bounded, random, gpr, opmask}, bits, src, t, temporary).emit(dst, mask);
  }
}

}  // namespace fase::core
