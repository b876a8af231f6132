#include "core/emit/rounder64.h"

#include <algorithm>

namespace fase::core {
namespace {

// vpternlogq dst, b, c
constexpr std::int16_t kSelectThird = 0xb8;  // b ? c : dst
constexpr std::int16_t kSelectOld = 0xe2;    // b ? dst : c
constexpr std::int16_t kTakeSecond = 0xd8;   // c ? b : dst
// vfixupimmpd tables: four bits per class, QNaN and SNaN lowest.
constexpr std::uint64_t kQuietNans = 0x22, kNansToZero = 0x88;

constexpr std::uint64_t kExponent = 0x7ff0000000000000, kUnit = 0x0010000000000000, kAll = ~std::uint64_t{0};
constexpr int kLeastQuantum = -1019;  // smaller steps and binary64's own subnormals could meet

Mods immediate(int value) { return {0, false, static_cast<std::int16_t>(value), -1}; }
Mods rounding(std::int8_t control) { return {0, false, -1, control}; }

}  // namespace

bool Rounder64::supports(const Format64& f) { return f.rounding != Rounding::sr && (f.min_exponent == -1022 || f.quantum() >= kLeastQuantum); }

void Rounder64::shift_right(int dst, int src, unsigned n) { put(op::vpsrlq_imm, 2, dst, Rm(src), immediate(static_cast<int>(n))); }

/// All ones in lanes where src is negative. `spare` may be dst.
void Rounder64::sign_mask(int dst, int src, int spare) {
  if (wide_) return put(op::vpsraq_imm, 4, dst, Rm(src), immediate(63));
  put(op::vpxorq, spare, spare, spare);
  put(op::vpcmpgtq, dst, spare, src);
}

void Rounder64::ones(int dst) {
  if (wide_) put(op::vpternlogq, dst, dst, Rm(dst), immediate(0xff));
  else put(op::vpcmpeqq, dst, dst, dst);
}

/// t = max(t, value); uses e and u.
void Rounder64::at_least(std::uint64_t value) {
  if (wide_) return put(op::vpmaxuq, t_, t_, lanes(value));
  put(op::vpcmpgtq, e_, t_, lanes(value));
  put(op::vpandq, t_, t_, e_);
  put(op::vpandnq, e_, e_, lanes(value));
  put(op::vporq, t_, t_, e_);
}

/// A mask of the lanes where value > limit (both below 2^63), or, returning true, of the others.
bool Rounder64::mask_above(int dst, int value, std::uint64_t limit) {
  if (!wide_) {
    put(op::vpcmpgtq, dst, value, lanes(limit));
    return false;
  }
  put(op::vpaddq, dst, value, lanes(0 - (limit + 1)));
  sign_mask(dst, dst, dst);
  return true;
}

/// t = 0 but in the mask's lanes.
void Rounder64::keep_where(int mask, bool inverted) { put(inverted ? op::vpandnq : op::vpandq, t_, inverted ? mask : t_, inverted ? t_ : mask); }

/// t = value in the mask's lanes.
void Rounder64::blend(int mask, bool inverted, const Rm& value) {
  if (wide_) put(op::vpternlogq, t_, mask, value, immediate(inverted ? kSelectOld : kSelectThird));
  else put(op::vblendvpd, t_, t_, value, immediate(mask << 4));
}

/// dst = x < 0 ? negative : positive
void Rounder64::pick_by_sign(int dst, int spare, std::uint64_t positive, std::uint64_t negative) {
  sign_mask(dst, x_, spare);
  put(op::vpandq, dst, dst, lanes(positive ^ negative));
  put(op::vpxorq, dst, dst, lanes(positive));
}

// ---- The magnitude.

bool Rounder64::by_addition() const {
  const std::uint64_t top = std::max(largest(false), largest(true)) >> 52;
  const bool nearest_or_zero = format_.rounding == Rounding::rne || format_.rounding == Rounding::rtz;
  return wide_ && nearest_or_zero && !own_subnormals() && format_.mantissa_bits > 0 && format_.mantissa_bits < 52 && top + dropped() <= 2046;
}

void Rounder64::addition() {
  const std::int8_t control = format_.rounding == Rounding::rne ? kNearest : kTruncate;
  const std::uint64_t normal = power(format_.min_exponent);
  magnitude(t_);
  put(op::vpandq, e_, x_, lanes(kExponent));
  put(op::vpmaxuq, e_, e_, lanes(normal));
  put(op::vpminuq, e_, e_, lanes(std::max(std::max(largest(false), largest(true)) & kExponent, normal)));
  put(op::vpaddq, e_, e_, lanes(static_cast<std::uint64_t>(dropped()) << 52));
  a_.vector(op::vaddpd, 512, t_, t_, e_, rounding(control));
  a_.vector(op::vsubpd, 512, t_, t_, e_, rounding(kNearest));
}

/// u = mask of the bits that are kept, e = s, where s depends on the lane. With E and N the exponent fields of x and of the smallest normal value:
/// F = 2047 - E is brought between 2047 - N (E is N or more) and 2047 - N + m (s is 52), then s = F + 52 - m - (2047 - N).
void Rounder64::variable_mask() {
  const auto least = static_cast<std::uint64_t>(2047 - (format_.min_exponent + 1023));
  put(op::vpandnq, e_, x_, lanes(kExponent));
  shift_right(e_, e_, 52);
  // Below 2^32: AVX2 has such instructions for 32 bits only.
  put(wide_ ? op::vpmaxuq : op::vpmaxud, e_, e_, lanes(least));
  put(wide_ ? op::vpminuq : op::vpminud, e_, e_, lanes(least + format_.mantissa_bits));
  put(op::vpaddq, e_, e_, lanes(dropped() - least));
  ones(u_);
  put(op::vpsllvq, u_, u_, e_);
}

/// e = what is added for ties to even, (2^s - 1 + bit s) >> 1. The hidden bit, which is bit 52, is one; without mantissa bits the field's last bit
/// says what is even.
void Rounder64::add_to_even(unsigned fixed) {
  if (fixed > 0) {
    shift_right(e_, x_, fixed);
  } else {
    if (format_.mantissa_bits > 0) put(op::vporq, t_, x_, lanes(kUnit));
    put(op::vpsrlvq, e_, format_.mantissa_bits > 0 ? t_ : x_, e_);
  }
  put(op::vpandq, e_, e_, lanes(1));
  if (fixed > 0) return put(op::vpaddq, e_, e_, lanes(low() >> 1));
  put(op::vpsubq, e_, e_, u_);
  put(op::vpaddq, e_, e_, lanes(kAll));
  shift_right(e_, e_, 1);
}

/// e = 2^s - 1
void Rounder64::take_low() { put(op::vpandnq, e_, u_, lanes(kMagnitude64)); }

/// A rest carries into the last bit that is kept; where that is the hidden bit, it is one already.
void Rounder64::to_odd() {
  take_low();
  put(op::vpandnq, t_, u_, x_);
  put(op::vpaddq, t_, t_, e_);
  if (format_.mantissa_bits > 0) put(op::vpandq, t_, t_, lanes(kUnit - 1));
  magnitude(e_);
  put(op::vporq, t_, t_, e_);
  put(op::vpandq, t_, t_, u_);
}

/// Adds to the encoding and cuts it. `fixed`: s where all lanes drop as many bits; 0: as variable_mask() says.
void Rounder64::integers(unsigned fixed) {
  if (fixed == 0) variable_mask();
  const std::uint64_t keep = kMagnitude64 & ~low();
  const Rounding r = format_.rounding;
  if (r == Rounding::odd && fixed == 0) return to_odd();
  if (r == Rounding::odd) {
    put(op::vpandq, t_, x_, lanes(low()));
    put(op::vpaddq, t_, t_, lanes(low()));
    magnitude(e_);
    put(op::vporq, t_, t_, e_);
    return put(op::vpandq, t_, t_, lanes(keep));
  }
  switch (r) {
    case Rounding::rne: add_to_even(fixed); break;
    case Rounding::rna:
      if (fixed > 0) break;
      take_low();
      put(op::vpaddq, e_, e_, lanes(1));
      shift_right(e_, e_, 1);
      break;
    case Rounding::rup:
    case Rounding::rdn: {
      sign_mask(t_, x_, e_);
      const bool up = r == Rounding::rup;
      if (fixed > 0) {
        put(up ? op::vpandnq : op::vpandq, e_, t_, lanes(low()));
        break;
      }
      take_low();
      put(up ? op::vpandnq : op::vpandq, e_, t_, e_);
      break;
    }
    default: break;
  }
  magnitude(t_);
  if (r == Rounding::rna && fixed > 0) put(op::vpaddq, t_, t_, lanes((low() >> 1) + 1));
  else if (r != Rounding::rtz) put(op::vpaddq, t_, t_, e_);
  if (fixed > 0) put(op::vpandq, t_, t_, lanes(keep));
  else put(op::vpandq, t_, t_, u_);
}

/// Below the smallest value there is it, or zero.
void Rounder64::cut_tiny() {
  const std::uint64_t smallest = power(format_.quantum()), half = smallest - kUnit;
  at_least(smallest);
  switch (format_.rounding) {
    case Rounding::rne: return zero_unless_above(half, half);
    case Rounding::rna: return zero_unless_above(half - 1, half - 1);
    case Rounding::rup: return zero_unless_above(0, smallest - 1);
    case Rounding::rdn: return zero_unless_above(smallest - 1, 0);
    case Rounding::odd: return zero_unless_above(0, 0);
    default: return zero_unless_above(smallest - 1, smallest - 1);
  }
}

/// t = 0 where |x| <= limit
void Rounder64::zero_unless_above(std::uint64_t positive, std::uint64_t negative) {
  if (positive == negative) {
    magnitude(e_);
    return keep_where(e_, mask_above(e_, e_, positive));
  }
  pick_by_sign(u_, e_, positive, negative);
  magnitude(e_);
  put(op::vpsubq, e_, u_, e_);
  sign_mask(e_, e_, u_);
  keep_where(e_, false);
}

void Rounder64::flush() {
  if (format_.least == 0) return;
  magnitude(e_);
  keep_where(e_, mask_above(e_, e_, format_.least - 1));
}

// ---- Values beyond the largest.

Beyond Rounder64::overflow(bool negative) const {
  const Rounding r = format_.rounding;
  const bool inward = r == Rounding::rtz || r == Rounding::odd || (r == Rounding::rup && negative) || (r == Rounding::rdn && !negative);
  return inward ? Beyond::largest : format_.overflow;
}

std::uint64_t Rounder64::beyond(Beyond what, bool negative) const {
  return what == Beyond::infinity ? kInfinity64 : what == Beyond::nan ? kQuietNan64 : largest(negative);
}

void Rounder64::limit() {
  const bool infinite = overflow(false) == Beyond::infinity && overflow(true) == Beyond::infinity && format_.infinity == Beyond::infinity;
  const bool natural = own_subnormals() && format_.mantissa_bits > 0 && largest(false) == kInfinity64 - low() - 1 && largest(true) == largest(false);
  if (infinite && natural) return;
  replace_beyond();
  for (const bool negative : {false, true})
    if (beyond(format_.infinity, negative) != beyond(overflow(negative), negative)) return replace_infinities();
}

/// t > largest: what the overflow rule says, for each sign.
void Rounder64::replace_beyond() {
  const std::uint64_t top = largest(false), bottom = largest(true);
  const std::uint64_t up = beyond(overflow(false), false), down = beyond(overflow(true), true);
  if (top == bottom && up == down) {
    const bool inverted = mask_above(e_, t_, top);
    return blend(e_, inverted, lanes(up));
  }
  pick_by_sign(e_, u_, top, bottom);
  put(op::vpsubq, e_, e_, t_);
  sign_mask(e_, e_, u_);
  pick_by_sign(u_, u_, up, down);
  blend(e_, false, u_);
}

void Rounder64::replace_infinities() {
  const std::uint64_t up = beyond(format_.infinity, false), down = beyond(format_.infinity, true);
  if (up != down) pick_by_sign(u_, u_, up, down);
  magnitude(e_);
  const bool inverted = mask_above(e_, e_, kInfinity64 - 1);
  if (up == down) blend(e_, inverted, lanes(up));
  else blend(e_, inverted, u_);
}

// ---- Sign, NaNs, zeros.

/// t takes the sign of x, but for zeros of formats that have one zero.
void Rounder64::sign() {
  if (!wide_) {
    put(op::vpandq, e_, x_, lanes(kSignBit64));
    put(op::vporq, t_, t_, e_);
    if (format_.signed_zero) return;
    put(op::vpcmpeqq, e_, t_, lanes(kSignBit64));
    return put(op::vpandnq, t_, e_, t_);
  }
  if (format_.signed_zero) return put(op::vpternlogq, t_, x_, lanes(kSignBit64), immediate(kTakeSecond));
  put(op::vpaddq, e_, t_, lanes(kAll));
  sign_mask(e_, e_, e_);
  put(op::vpandnq, e_, e_, x_);
  put(op::vpternlogq, t_, e_, lanes(kSignBit64), immediate(kTakeSecond));
}

void Rounder64::nans() {
  const bool cut = low() != 0;
  if (wide_ && format_.nan != NanRule::largest) {
    put(op::vfixupimmpd, t_, x_, lanes(format_.nan == NanRule::nan ? kQuietNans : kNansToZero), immediate(0));
    if (format_.nan == NanRule::nan && cut) put(op::vpandq, t_, t_, lanes(payload()));
    return;
  }
  magnitude(e_);
  const bool inverted = mask_above(e_, e_, kInfinity64);
  if (format_.nan == NanRule::largest) return blend(e_, inverted, lanes(format_.max_positive));
  if (format_.nan == NanRule::zero) return keep_where(e_, !inverted);
  put(op::vporq, u_, x_, lanes(kQuietBit64));
  if (cut) put(op::vpandq, u_, u_, lanes(payload()));
  blend(e_, inverted, u_);
}

void Rounder64::emit() {
  if (by_addition()) addition();
  else if (own_subnormals() && dropped() == 0) magnitude(t_);
  else integers(own_subnormals() ? dropped() : 0);
  if (!own_subnormals() && !by_addition()) cut_tiny();
  flush();
  limit();
  sign();
  nans();
}

}  // namespace fase::core
