#include "core/emit/nearest.h"

#include <bit>

namespace fase::core {
namespace {

constexpr unsigned kMostMantissaBits = 10;
constexpr int kLeastStep = -123;

// vrangeps: the smaller or larger magnitude, with the sign of the first operand.
constexpr int kSmaller = 2, kLarger = 3;
// vpternlogd dst, b, sign
constexpr int kSignOfOther = 0xd8, kOwnSign = 0xe4;
// vfixupimmps: four bits per class: QNaN, SNaN, zero, one, -Inf, +Inf, negative, positive. 0: the destination stays; 1: the source; 2: the source
// quieted, which makes a NaN of an infinity.
constexpr std::uint32_t kQuietNans = 0x22, kNansToZero = 0x88, kZeroWithoutSign = 0x800, kKeepInfinity = 0x110000, kInfinityToNan = 0x220000;

const VectorOp kFmadd231{2, 1, 0xb8}, kFnmadd231{2, 1, 0xbc};

bool saturates(const Format& f) { return f.overflow == Beyond::largest; }

float number(std::uint32_t encoding) { return std::bit_cast<float>(encoding); }

/// A number whose product with just the values beyond the largest is infinite, as an encoding; 0: there is none.
std::uint32_t factor_to_infinity(const Format& f) {
  const double over = number(f.max_positive + (1u << (23 - f.mantissa_bits)));  // the next value of the grid, were there no limit
  if (over < 2.0) return 0;
  const double factor = 0x1p128 / over;
  const auto near = std::bit_cast<std::uint32_t>(static_cast<float>(factor));
  return near + (number(near) < factor);
}

}  // namespace

bool Nearest::supports(const Format& f, Isa isa) {
  if (isa != Isa::avx512 || f.rounding != Rounding::rne || !f.is_plain() || f.least != 0) return false;
  if (f.mantissa_bits < 1 || f.mantissa_bits > kMostMantissaBits || f.min_exponent == -126 || f.quantum() < kLeastStep) return false;
  const bool symmetric = f.max_negative == (f.max_positive | kSignBit);
  const std::uint32_t smallest_normal = static_cast<std::uint32_t>(f.min_exponent + 127) << 23;
  if ((f.max_positive >> 23) + 23 - f.mantissa_bits > 254) return false;  // c would be infinite
  if (!symmetric || f.max_positive < smallest_normal || f.overflow != f.infinity || f.nan == NanRule::largest) return false;
  return saturates(f) || (f.nan == NanRule::nan && factor_to_infinity(f) != 0);
}

/// A register that holds the constant, `spare` where none does.
int Nearest::held(std::uint32_t value, int spare) {
  const Rm constant = k_.constant(value);
  if (!constant.memory) return constant.reg;
  a_.vector(op::vbroadcastss, 512, spare, 0, constant.mem);
  return spare;
}

void Nearest::rounded(const VectorOp& op, int dst, int first, int last) { a_.vector(op, 512, dst, first, last, {0, false, -1, kNearest}); }

void Nearest::range(int dst, int first, std::uint32_t limit, int control, int spare) {
  a_.vector(op::vrangeps, 512, dst, first, held(limit, spare), {0, false, static_cast<std::int16_t>(control), kSae});
}

void Nearest::fixup(int dst, int by, std::uint32_t table) { a_.vector(op::vfixupimmps, bits_, dst, by, k_.constant(table), {0, false, 0, -1}); }

void Nearest::merge_signs(int dst, int other, int imm, unsigned mask) {
  a_.vector(op::vpternlogd, bits_, dst, other, k_.constant(kSignBit), {static_cast<std::uint8_t>(mask), false, static_cast<std::int16_t>(imm), -1});
}

/// t = (t - c) + c, where c is never formed: e may be infinite.
void Nearest::sum() {
  range(e_, t_, static_cast<std::uint32_t>(f_.min_exponent + 127) << 23 | kQuietBit, kLarger, y_);
  const int scale = held(0x3f800000 + ((23u - f_.mantissa_bits) << 23), y_);
  rounded(kFnmadd231, t_, e_, scale);
  rounded(kFmadd231, t_, e_, scale);
}

void Nearest::cut_nan() {
  if (!care_.nan_fix || care_.no_nan) return;
  const std::uint32_t low = (1u << (23 - f_.mantissa_bits)) - 1;
  a_.vector(op::vpand, bits_, t_, t_, k_.constant(~(low & ~kQuietBit)));
}

/// y is infinite where t is beyond the largest value. An infinite x has made a NaN of t. Signs are merged later.
void Nearest::replace_beyond() {
  rounded(op::vmulps, y_, t_, held(factor_to_infinity(f_), y_));
  const bool to_nan = f_.infinity == Beyond::nan;
  fixup(t_, y_, kQuietNans | (to_nan ? kInfinityToNan : kKeepInfinity));
  cut_nan();
  if (!to_nan && !care_.no_infinity) fixup(t_, e_, kKeepInfinity);
}

/// Values beyond the largest become the largest before they are rounded. A NaN of x is put back.
void Nearest::clamped() {
  range(t_, x_, f_.max_positive, kSmaller, e_);
  sum();
  if (care_.no_nan || f_.nan != NanRule::nan) return;
  fixup(t_, x_, kQuietNans);
  cut_nan();
}

/// The sum is +0 where it is zero, and of the wrong sign where c is beyond binary32. `signs`: a register with the signs of x.
void Nearest::finish(int dst, int signs, unsigned mask) {
  const bool nan_to_zero = f_.nan == NanRule::zero && !care_.no_nan;
  const bool last = f_.signed_zero && !nan_to_zero;
  if (last && dst == signs) return merge_signs(dst, t_, kOwnSign, mask);
  const bool right = !f_.signed_zero && care_.bounded && care_.no_infinity;
  if (!right) merge_signs(t_, signs, kSignOfOther, 0);
  if (!f_.signed_zero && !right) fixup(t_, t_, kZeroWithoutSign);
  if (nan_to_zero) fixup(t_, x_, kNansToZero);
  if (dst != t_) a_.vector(op::vmovups_load, bits_, dst, 0, t_, {static_cast<std::uint8_t>(mask), false, -1, -1});
}

void Nearest::emit(int dst, unsigned mask) {
  if (saturates(f_)) {
    clamped();
    return finish(dst, x_, mask);
  }
  const bool in_place = dst == x_ && mask == 0;
  if (in_place) t_ = x_;
  else a_.vector(op::vmovups_load, 512, t_, 0, x_);
  sum();
  replace_beyond();
  finish(dst, in_place ? e_ : x_, mask);
}

}  // namespace fase::core
