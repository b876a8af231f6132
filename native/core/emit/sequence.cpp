#include "core/emit/sequence.h"

#include <algorithm>
#include <bit>

namespace fase::core {
namespace {

// vpternlogd dst, b, c
constexpr int kSelectThird = 0xb8;  // b ? c : dst
constexpr int kSelectOld = 0xe2;    // b ? dst : c
constexpr int kTakeSecond = 0xd8;   // c ? b : dst
constexpr int kTakeOld = 0xe4;      // c ? dst : b
constexpr int kToOdd = 0xf8;        // dst | ((dst ^ b) & c)
// vfixupimmps tables: four bits per class: QNaN, SNaN, zero, one, -Inf, +Inf, negative, positive; 0 keeps the destination.
constexpr std::uint32_t kQuietNans = 0x22, kNansToZero = 0x88, kZeroWithoutSign = 0x800, kInfinityToInfinity = 0x550000, kInfinityToNan = 0x330000;

constexpr std::uint32_t kOne = 0x3f800000, kBelowHalf = 0x3effffff, kExponent = 0x7f800000, kUnit = 0x00800000;
constexpr int kSuppress = 8;  // vroundps: no precision flag; bits 1:0 as in {er}

}  // namespace

bool Sequence::supports(const Format& f) {
  if (!f.is_plain()) return false;
  return f.min_exponent == -126 || (f.mantissa_bits == 0 ? f.min_exponent > -125 : f.quantum() >= -123);
}

Sequence::Way Sequence::way(const Format& f, Isa isa) {
  if (f.lookup != nullptr) return Way::table;
  if (f.min_exponent == -126) return Way::integers;
  if (f.rounding == Rounding::sr) return Way::shifting;
  if (f.mantissa_bits == 0) return Way::integers;
  const std::uint32_t top = std::max(f.max_positive, f.max_negative & kMagnitude) >> 23;
  return isa == Isa::avx512 && f.mantissa_bits <= 22 && top + 23 - f.mantissa_bits <= 254 ? Way::addition : Way::scaling;
}

Sequence::Sequence(Assembler& a, ConstantSource& k, Isa isa, const Format& f, Care care, unsigned bits, int x, int t, const int* temporary)
    : a_(a),
      k_(k),
      isa_(isa),
      format_(f),
      nan_fix_(care.nan_fix),
      bounded_(care.bounded),
      random_(care.random),
      gpr_(care.gpr),
      opmask_(care.opmask),
      bits_(bits),
      x_(x),
      t_(t),
      e_(temporary[0]),
      u_(temporary[1]),
      v_(temporaries(f, isa) > kTemporaries ? temporary[kTemporaries] : -1) {}

void Sequence::put(const Instruction& next) {
  flush_pending();
  last_ = next;
  pending_ = true;
}

void Sequence::flush_pending() {
  if (pending_) a_.vector(last_.op, last_.bits, last_.dst, last_.first, last_.last, last_.mods);
  pending_ = false;
}

void Sequence::shift_right(int dst, int src, unsigned n, bool arithmetic) {
  flush_pending();
  a_.vector(op::vpsrld_imm, bits_, arithmetic ? 4 : 2, dst, src, immediate(static_cast<int>(n)));
}

/// Constants cannot be operands of instructions with {er}.
void Sequence::product_with_rounding(int dst, int first, std::uint32_t by, int spare) {
  const Rm value = constant(by);
  if (value.memory) {
    flush_pending();
    a_.vector(op::vbroadcastss, 512, spare, 0, value.mem);
  }
  with_rounding(op::vmulps, dst, first, value.memory ? spare : value.reg, kNearest);
}

/// dst = x < 0 ? negative : positive
void Sequence::pick_by_sign(int dst, std::uint32_t positive, std::uint32_t negative) {
  shift_right(dst, x_, 31, true);
  op3(op::vpand, dst, dst, positive ^ negative);
  op3(op::vpxor, dst, dst, positive);
}

/// t = mask ? value : t, where AVX2 looks at the mask's sign bits only.
void Sequence::blend(int by_mask, const Rm& value) {
  if (wide()) tied(op::vpternlogd, t_, by_mask, value, kSelectThird);
  else put({op::vblendvps, bits_, t_, t_, value, immediate(by_mask << 4), false});
}

/// t = tested > limit ? by : t. `tested` is lost if it is not t.
void Sequence::replace_above(int tested, std::uint32_t limit, std::uint32_t by) {
  const int mask = tested == t_ ? e_ : tested;
  if (!wide()) {
    op3(op::vpcmpgtd, mask, tested, limit);
    return blend(mask, constant(by));
  }
  op3(op::vpaddd, mask, tested, 0 - (limit + 1));
  shift_right(mask, mask, 31, true);
  tied(op::vpternlogd, t_, mask, constant(by), kSelectOld);
}

// ---- The magnitude.

/// t = max(t, eighth of the smallest value), but zero stays: for roundings in which the least excess counts, under DAZ too.
void Sequence::floor_of_nonzero() {
  const auto floor = static_cast<std::uint32_t>(format_.quantum() - 3 + 127) << 23;
  op3(op::vpaddd, u_, t_, 0xffffffff);
  shift_right(u_, u_, 31, true);
  op3(op::vpandn, u_, u_, floor);
  op3(op::vpmaxud, t_, t_, u_);
}

void Sequence::integers() {
  const unsigned dropped = 23u - format_.mantissa_bits;
  const std::uint32_t keep = kMagnitude & ~low();
  if (dropped == 0) return magnitude(t_);
  switch (format_.rounding) {
    case Rounding::rne:
      shift_right(e_, x_, dropped, false);
      op3(op::vpand, e_, e_, 1u);
      magnitude(t_);
      op3(dropped > 1 ? op::vpor : op::vpaddd, t_, t_, e_);
      if (dropped > 1) op3(op::vpaddd, t_, t_, low() >> 1);
      break;
    case Rounding::rna:
      magnitude(t_);
      op3(op::vpaddd, t_, t_, (low() >> 1) + 1);
      break;
    case Rounding::rup:
    case Rounding::rdn:
      shift_right(e_, x_, 31, true);
      op3(format_.rounding == Rounding::rup ? op::vpandn : op::vpand, e_, e_, low());
      magnitude(t_);
      op3(op::vpaddd, t_, t_, e_);
      break;
    case Rounding::odd:
      op3(op::vpand, t_, x_, low());
      op3(op::vpaddd, t_, t_, low());
      magnitude(e_);
      op3(op::vpor, t_, t_, e_);
      break;
    case Rounding::sr:
      shift_right(random_, random_, 32 - dropped, false);
      if (format_.random_bits < dropped) op3(op::vpand, random_, random_, keep_random(dropped));
      magnitude(t_);
      op3(op::vpaddd, t_, t_, random_);
      break;
    default: return op3(op::vpand, t_, x_, keep);
  }
  op3(op::vpand, t_, t_, keep);
}

/// Without mantissa bits: below the smallest normal value there is it, or zero.
void Sequence::cut_tiny() {
  const std::uint32_t normal = smallest_normal(), half = normal - kUnit;
  op3(op::vpmaxud, t_, t_, normal);
  switch (format_.rounding) {
    case Rounding::rne: return zero_unless_above(half, half);
    case Rounding::rna: return zero_unless_above(half - 1, half - 1);
    case Rounding::rup: return zero_unless_above(0, normal - 1);
    case Rounding::rdn: return zero_unless_above(normal - 1, 0);
    case Rounding::odd: return zero_unless_above(0, 0);
    default: return zero_unless_above(normal - 1, normal - 1);
  }
}

/// t = 0 where |x| <= limit
void Sequence::zero_unless_above(std::uint32_t positive, std::uint32_t negative) {
  magnitude(e_);
  if (positive != negative) {
    pick_by_sign(u_, positive, negative);
    op3(op::vpsubd, e_, u_, e_);
    shift_right(e_, e_, 31, true);
    op3(op::vpand, t_, t_, e_);
  } else if (wide()) {
    op3(op::vpaddd, e_, e_, 0 - (positive + 1));
    shift_right(e_, e_, 31, true);
    op3(op::vpandn, t_, e_, t_);
  } else {
    op3(op::vpcmpgtd, e_, e_, positive);
    op3(op::vpand, t_, t_, e_);
  }
}

void Sequence::addition() {
  const std::uint32_t above = (23u - format_.mantissa_bits) << 23;
  const std::uint32_t top = std::max(std::max(largest(false), largest(true)) & kExponent, smallest_normal());
  // Half of c's range below it, x needs no magnitude: c + x and c - |x| round alike.
  const bool with_sign = format_.rounding == Rounding::rne && format_.mantissa_bits <= 20 && over_factor() != 0;
  if (!with_sign) magnitude(t_);
  op3(op::vpand, e_, x_, kExponent);
  op3(op::vpmaxud, e_, e_, smallest_normal());
  if (!bounded_) op3(op::vpminud, e_, e_, top);
  op3(op::vpaddd, e_, e_, with_sign ? above | kQuietBit : above);
  keeps_nan_ = true;
  const auto add = [&](int dst, int to, int what, int control) { with_rounding(op::vaddps, dst, to, what, control); };
  switch (format_.rounding) {
    case Rounding::rup:
    case Rounding::rdn: {
      const int control = format_.rounding == Rounding::rup ? kUp : kDown;
      floor_of_nonzero();
      tied(op::vpternlogd, t_, x_, constant(kSignBit), kTakeSecond);
      tied(op::vpternlogd, e_, x_, constant(kSignBit), kTakeSecond);
      add(t_, t_, e_, control);
      with_rounding(op::vsubps, t_, t_, e_, control);
      return op3(op::vpand, t_, t_, kMagnitude);
    }
    case Rounding::odd:
      floor_of_nonzero();
      add(u_, t_, e_, kUp);
      add(t_, t_, e_, kTruncate);
      tied(op::vpternlogd, t_, u_, constant(1), kToOdd);
      break;
    case Rounding::rna:
      op3(op::vpaddd, u_, e_, 0 - (24u << 23));  // half a step
      add(t_, t_, u_, kTruncate);
      add(t_, t_, e_, kTruncate);
      break;
    case Rounding::rtz: add(t_, t_, e_, kTruncate); break;
    default: add(t_, with_sign ? x_ : t_, e_, kNearest);
  }
  with_rounding(op::vsubps, t_, t_, e_, kNearest);
}

void Sequence::scaling() {
  const std::uint32_t m = format_.mantissa_bits;
  const std::uint32_t top = (std::max(largest(false), largest(true)) & kExponent) + kUnit;
  const bool directed = format_.rounding == Rounding::rup || format_.rounding == Rounding::rdn;
  magnitude(t_);
  op3(op::vpminud, t_, t_, top);
  if (directed || format_.rounding == Rounding::odd) floor_of_nonzero();
  else op3(op::vpmaxud, t_, t_, static_cast<std::uint32_t>(format_.quantum() - 3 + 127) << 23);
  op3(op::vpand, e_, t_, kExponent);
  op3(op::vpmaxud, e_, e_, smallest_normal());
  op3(op::vpandn, u_, e_, kExponent);  // 2^(128 - e)
  if (m != 1) op3(op::vpaddd, u_, u_, (m - 1) << 23);
  op3(op::vmulps, t_, t_, u_);
  if (directed) {
    op3(op::vpand, u_, x_, kSignBit);
    op3(op::vpor, t_, t_, u_);
  }
  const auto rint = [&](int dst, int control) { put({op::vroundps, bits_, dst, 0, t_, immediate(kSuppress | control), false}); };
  switch (format_.rounding) {
    case Rounding::rne: rint(t_, kNearest); break;
    case Rounding::rup: rint(t_, kUp); break;
    case Rounding::rdn: rint(t_, kDown); break;
    case Rounding::rna:
      rint(u_, kTruncate);
      scaled_to_nearest_away();
      break;
    case Rounding::odd:
      rint(u_, kTruncate);
      scaled_to_odd();
      break;
    default: rint(t_, kTruncate);
  }
  op3(op::vpaddd, e_, e_, 0 - (m << 23));
  op3(op::vmulps, t_, t_, e_);
  if (directed) op3(op::vpand, t_, t_, kMagnitude);
}

/// u = floor(t): adds one where the rest is at least a half.
void Sequence::scaled_to_nearest_away() {
  op3(op::vsubps, t_, t_, u_);
  if (wide()) {
    op3(op::vpaddd, t_, t_, 0 - (kBelowHalf + 1));
    shift_right(t_, t_, 31, true);
    op3(op::vpandn, t_, t_, kOne);
  } else {
    op3(op::vpcmpgtd, t_, t_, kBelowHalf);
    op3(op::vpand, t_, t_, kOne);
  }
  op3(op::vaddps, t_, t_, u_);
}

/// u = floor(t): sets its last bit where there is a rest.
void Sequence::scaled_to_odd() {
  op3(op::vsubps, t_, t_, u_);
  op3(op::vpaddd, t_, t_, 0xffffffff);  // negative where the rest is zero
  shift_right(t_, t_, 31, true);
  op3(op::vpandn, t_, t_, 1u);
  put({op::vcvttps2dq, bits_, u_, 0, u_, {}, false});
  op3(op::vpor, t_, t_, u_);
  put({op::vcvtdq2ps, bits_, t_, 0, t_, {}, false});
}

/// With e the encoding of the exponent (of 2^-126 for subnormal numbers, which have no hidden bit) and E that of max(e, emin):
///   n = ((significand >> (23 - m - N + E - e)) + R) >> N;   t = n * 2^(E - m), by adding to the encoding of float(n)
void Sequence::shifting() {
  const int m = format_.mantissa_bits, n = format_.random_bits;
  const std::uint32_t top = (std::max(largest(false), largest(true)) & kExponent) + kUnit;
  magnitude(t_);
  op3(op::vpminud, t_, t_, top);
  op3(op::vpand, e_, t_, kExponent);
  op3(op::vpmaxud, e_, e_, kUnit);
  op3(op::vpsubd, u_, t_, e_);
  op3(op::vpaddd, u_, u_, kUnit);
  op3(op::vpmaxud, t_, e_, smallest_normal());
  op3(op::vpsubd, e_, t_, e_);
  shift_right(e_, e_, 23, false);
  if (m + n > 23) op3(op::vpaddd, u_, u_, u_);
  else if (m + n < 23) op3(op::vpaddd, e_, e_, static_cast<std::uint32_t>(23 - m - n));
  op3(op::vpsrlvd, u_, u_, e_);
  shift_right(random_, random_, static_cast<unsigned>(32 - n), false);
  op3(op::vpaddd, u_, u_, random_);
  shift_right(u_, u_, static_cast<unsigned>(n), false);
  op3(op::vpaddd, t_, t_, 0 - (static_cast<std::uint32_t>(127 + m) << 23));
  op3(op::vpaddd, e_, u_, 0xffffffff);  // negative where n = 0
  shift_right(e_, e_, 31, true);
  put({op::vcvtdq2ps, bits_, u_, 0, u_, {}, false});
  op3(op::vpaddd, t_, t_, u_);
  op3(op::vpandn, t_, e_, t_);
}

void Sequence::flush() {
  if (format_.least == 0) return;
  magnitude(e_);
  if (wide()) {
    op3(op::vpaddd, e_, e_, 0 - format_.least);
    shift_right(e_, e_, 31, true);
    op3(op::vpandn, t_, e_, t_);
  } else {
    op3(op::vpcmpgtd, e_, e_, format_.least - 1);
    op3(op::vpand, t_, t_, e_);
  }
}

// ---- Values beyond the largest.

Beyond Sequence::overflow(bool negative) const {
  const Rounding r = format_.rounding;
  const bool inward = r == Rounding::rtz || r == Rounding::odd || (r == Rounding::rup && negative) || (r == Rounding::rdn && !negative);
  return inward ? Beyond::largest : format_.overflow;
}

std::uint32_t Sequence::beyond(Beyond what, bool negative) const {
  return what == Beyond::infinity ? kInfinity : what == Beyond::nan ? kQuietNan : largest(negative);
}

void Sequence::limit() {
  const bool same = overflow(false) == format_.infinity && overflow(true) == format_.infinity && largest(false) == largest(true);
  const bool natural = way(format_, isa_) == Way::integers && format_.mantissa_bits > 0 && largest(false) == kInfinity - low() - 1;
  if (same && natural && format_.infinity == Beyond::infinity) return;
  if (const std::uint32_t factor = keeps_nan_ ? over_factor() : 0; factor != 0) {
    product_with_rounding(e_, t_, factor, e_);
    return tied(op::vfixupimmps, t_, e_, constant(format_.infinity == Beyond::nan ? kInfinityToNan : kInfinityToInfinity), 0);
  }
  keeps_nan_ = false;
  replace_beyond();
  for (const bool negative : {false, true})
    if (beyond(format_.infinity, negative) != beyond(overflow(negative), negative)) return replace_infinities();
}

/// A number whose product with just the values beyond the largest is infinite, as an encoding; 0 where there is none or it does not help.
std::uint32_t Sequence::over_factor() const {
  const bool same = overflow(false) == format_.infinity && overflow(true) == format_.infinity && largest(false) == largest(true);
  const std::uint32_t over = largest(false) + (1u << (23 - format_.mantissa_bits));  // the next value of the grid, were there no limit
  const bool power = (over & (kUnit - 1)) == 0;
  if (!same || format_.infinity == Beyond::largest || over < 0x40000000 || (!power && format_.mantissa_bits > 20)) return 0;
  const double factor = 0x1p128 / static_cast<double>(std::bit_cast<float>(over));
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(factor));
  return bits + (static_cast<double>(std::bit_cast<float>(bits)) < factor);
}

/// t > largest: what the overflow rule says, for each sign.
void Sequence::replace_beyond() {
  const std::uint32_t top = largest(false), bottom = largest(true);
  const std::uint32_t up = beyond(overflow(false), false), down = beyond(overflow(true), true);
  if (top == bottom && up == top && down == top) return op3(op::vpminud, t_, t_, top);
  if (top == bottom && up == down) return replace_above(t_, top, up);
  pick_by_sign(e_, top, bottom);
  if (up == top && down == bottom) return op3(op::vpminud, t_, t_, e_);
  op3(op::vpsubd, e_, e_, t_);
  pick_by_sign(u_, up, down);
  if (wide()) shift_right(e_, e_, 31, true);
  blend(e_, u_);
}

void Sequence::replace_infinities() {
  const std::uint32_t up = beyond(format_.infinity, false), down = beyond(format_.infinity, true);
  magnitude(e_);
  if (up == down) return replace_above(e_, kInfinity - 1, up);
  pick_by_sign(u_, up, down);
  if (wide()) {
    op3(op::vpaddd, e_, e_, 0 - kInfinity);
    shift_right(e_, e_, 31, true);
    tied(op::vpternlogd, t_, e_, u_, kSelectOld);
  } else {
    op3(op::vpcmpgtd, e_, e_, kInfinity - 1);
    blend(e_, u_);
  }
}

// ---- Sign, NaNs, zeros.

void Sequence::cut_nan() {
  if (nan_fix_ && format_.mantissa_bits < 23) op3(op::vpand, t_, t_, payload());
}

/// NaNs of the input, once the rest is done.
void Sequence::nans() {
  if (wide() && format_.nan != NanRule::largest) {
    if (format_.nan == NanRule::zero) return tied(op::vfixupimmps, t_, x_, constant(kNansToZero), 0);
    if (!keeps_nan_) tied(op::vfixupimmps, t_, x_, constant(kQuietNans), 0);
    return cut_nan();
  }
  magnitude(e_);
  if (format_.nan == NanRule::largest) return replace_above(e_, kInfinity, format_.max_positive);
  op3(op::vpcmpgtd, e_, e_, kInfinity);
  if (format_.nan == NanRule::zero) return op3(op::vpandn, t_, e_, t_);
  if (nan_fix_) {
    op3(op::vpor, u_, x_, kQuietBit);
    op3(op::vpand, u_, u_, payload());
  }
  blend(e_, nan_fix_ ? u_ : x_);
}

/// t takes the sign of x, but for zeros of formats that have one zero.
void Sequence::sign_of_zero() {
  if (!wide()) {
    op3(op::vpand, e_, x_, kSignBit);
    op3(op::vpor, t_, t_, e_);
    if (format_.signed_zero) return;
    op3(op::vpcmpeqd, e_, t_, kSignBit);
    return op3(op::vpandn, t_, e_, t_);
  }
  if (way(format_, isa_) != Way::integers || format_.signed_zero) {
    tied(op::vpternlogd, t_, x_, constant(kSignBit), kTakeSecond);
    if (!format_.signed_zero) tied(op::vfixupimmps, t_, t_, constant(kZeroWithoutSign), 0);  // values are normal: DAZ does not matter
    return;
  }
  op3(op::vpaddd, e_, t_, 0xffffffff);
  shift_right(e_, e_, 31, true);
  op3(op::vpandn, e_, e_, x_);
  tied(op::vpternlogd, t_, e_, constant(kSignBit), kTakeSecond);
}

void Sequence::emit(int dst, unsigned mask) {
  switch (way(format_, isa_)) {
    case Way::integers: integers(); break;
    case Way::addition: addition(); break;
    case Way::scaling: scaling(); break;
    case Way::shifting: shifting(); break;
    case Way::table: return table(dst, mask);
  }
  if (format_.mantissa_bits == 0 && format_.min_exponent > -126 && format_.rounding != Rounding::sr) cut_tiny();
  flush();
  limit();
  const bool only_sign = wide() && keeps_nan_ && format_.nan == NanRule::nan && format_.signed_zero && !(nan_fix_ && format_.mantissa_bits < 23);
  if (only_sign && dst == x_) {
    flush_pending();
    return a_.vector(op::vpternlogd, bits_, dst, t_, constant(kSignBit), {static_cast<std::uint8_t>(mask), false, kTakeOld, -1});
  }
  sign_of_zero();
  nans();
  deliver(dst, mask);
}

void Sequence::deliver(int dst, unsigned mask) {
  if (pending_ && !last_.fixed && last_.dst == t_ && last_.bits == bits_) {
    last_.dst = dst;
    last_.mods.mask = static_cast<std::uint8_t>(mask);
    return flush_pending();
  }
  flush_pending();
  if (dst != t_ || mask != 0) a_.vector(op::vmovups_load, bits_, dst, 0, t_, {static_cast<std::uint8_t>(mask), false, -1, -1});
}

}  // namespace fase::core
