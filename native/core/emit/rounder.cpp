#include "core/emit/rounder.h"

namespace fase::core {
namespace {

constexpr std::uint32_t kAbs = 0x7fffffff, kInf = 0x7f800000, kQuiet = 0x00400000;
// vfixupimmps: four bits per class of number, QNaN and SNaN lowest. 2: the quieted source; 0: the destination stays.
constexpr std::uint32_t kQuietNans = 0x22;
// vpternlogd dst, b, c: (dst & c) | b
constexpr std::int16_t kAndOr = 0xec;

Mods imm(std::int16_t value, unsigned mask = 0) { return {static_cast<std::uint8_t>(mask), false, value, -1}; }

}  // namespace

int Rounder::temporaries(bool in_place) const {
  if (isa == Isa::avx512) return in_place ? 1 : 0;
  return (in_place ? 1 : 0) + (nan_fix ? 1 : 0);
}

int Rounder::constants(std::uint32_t (&out)[8]) const {
  int n = 0;
  out[n++] = keep();
  out[n++] = 1;
  if (shift() > 1) out[n++] = half_minus_one();
  if (!nan_fix) return n;
  if (isa == Isa::avx512) {
    out[n++] = kQuietNans;
  } else {
    out[n++] = kAbs;
    out[n++] = kInf;
    out[n++] = kQuiet;
  }
  return n;
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
    a.vector(op::vpand, bits, n, src, k.constant(kAbs));
    a.vector(op::vpcmpgtd, bits, n, n, k.constant(kInf));
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
    a.vector(op::vpand, bits, n, n, k.constant(kQuiet));
    a.vector(op::vpor, bits, t, t, n);
  }
  a.vector(op::vpand, bits, dst, t, k.constant(keep()));
}

void Rounder::emit(Assembler& a, ConstantSource& k, unsigned bits, int dst, int src, const int* temporary, unsigned mask) const {
  const bool in_place = dst == src;
  const int t = in_place ? *temporary++ : dst;
  if (isa == Isa::avx512) emit512(a, k, bits, dst, src, t, mask);
  else emit2(a, k, bits, dst, src, t, nan_fix ? *temporary : -1);
}

}  // namespace fase::core
