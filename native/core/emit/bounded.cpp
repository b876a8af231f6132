// Loops whose factors lie in a window of magnitudes. Three facts then hold for every sum that grows from a number in a window of its own, whatever the
// number of passes:
//
//   all numbers are multiples of 2^-126, so no result is subnormal and none underflows;
//   no sum grows to where its rounding would overflow: far below that a product is less than half a step of the sum, and changes it no more;
//   no sum is -0: none starts as -0, and what cancels is +0 to nearest.
//
// For such sums three or two instructions round as the four of rounder.h do:
//
//   v = x + sh * 2^23   as integers: x * 2^sh, or some 2^k where x is +0
//   u = x - v           or one FMA: x - 2^sh * x
//   r = u + v           or one FMA: u + 2^sh * x
//
// u has the last bit of the format's step, so the subtraction rounds to nearest even, and the addition is exact (why: nearest.h, with v for c).
// Two instructions are fewer than three, but then the multipliers do it all while the adders idle. Half of the sums each way is best where there is
// little else in the loop; where many factors are rounded, which takes the adders, three sums of four go through the multipliers.
//
// Factors are rounded so as well, by adding; -0, which would lose its sign, is rounded behind the loop.
//
// The loop is there twice. The bounded one tests every factor that it rounds, and continues at the same place of the full one when one is outside; once
// there it stays, until the loop is entered anew. Before either, the sums themselves and the program's rounding mode are tested.
#include <algorithm>
#include <bit>

#include "core/emit/digest.h"
#include "core/emit/emitter.h"

namespace fase::core {
namespace {

constexpr unsigned kMostMantissaBits = 10;
constexpr std::uint8_t kRoundingMode = 0x60;  // in the second byte of MXCSR
constexpr std::int16_t kGreater = 6;          // vpcmpud
constexpr unsigned kIsZero = 4;               // jz
constexpr unsigned kNotZero = 5;              // jnz
constexpr std::uint32_t kFewFactors = 5;      // sums to a factor

const VectorOp kFmadd132{2, 1, 0x98}, kFnmadd213{2, 1, 0xac};

/// Magnitudes from 2^least to below 2^most, and zero.
struct Window {
  int least, most;
  std::uint32_t start() const { return static_cast<std::uint32_t>(least + 127) << 24; }  // encodings without their sign, to the left
  std::uint32_t length() const { return (static_cast<std::uint32_t>(most - least) << 24) - 1; }
};

/// Products of factors with up to 11 significant bits are multiples of 2^-126 and at most 2^100.
constexpr Window kFactors{-53, 50};
/// Multiples of 2^-126 even in binary32; products of 2^100 leave sums from 2^113 on alone, and from 2^115 on some could not be rounded so.
constexpr Window kSums{-103, 100};

/// Added to an encoding, leaves these bits clear for 2^-43 to below 2^21 and their negatives.
constexpr std::uint32_t kOrdinary = 0u - (static_cast<std::uint32_t>(127 - 43) << 23), kNotOrdinary = 0x60000000;

bool plain(const Format& f) { return f.is_ieee() && f.rounding == Rounding::rne && f.mantissa_bits >= 1 && f.mantissa_bits <= kMostMantissaBits; }

}  // namespace

bool Emitter::can_bound(const Operator& op) {
  if (op.is_compound() || op.exact || op.is_stochastic() || op.chunk != 0) return false;
  return plain(op.a) && plain(op.b) && plain(op.d) && within(op.a, op.d) && within(op.b, op.d) && within(op.d, op.c);
}

/// What a loop loads as a sum is tested where it is rounded.
bool Emitter::can_bound(const Operator& op, const Analysis& analysis) {
  return can_bound(op) && analysis.sums != 0 && !(analysis.loads_sums && op.c.is_fp32());
}

/// The opmask says which lanes of x are outside. `t`: a temporary. A factor may be -0.
void Emitter::test_window(ConstantSource& k, int opmask, int t, int x, unsigned bits, bool factor) {
  const Window& w = factor ? kFactors : kSums;
  const auto to = static_cast<std::uint8_t>(opmask);
  asm_.vector(op::vpaddd, bits, t, x, x);
  asm_.vector(op::vptestmd, bits, opmask, factor ? t : x, factor ? t : x);
  asm_.vector(op::vpsubd, bits, t, t, k.constant(w.start()));
  asm_.vector(op::vpcmpud, bits, opmask, t, k.constant(w.length()), {to, false, kGreater, -1});
}

/// Rounding by adding takes one more register than rounding by bits.
bool Emitter::wants_temporary() const { return twice_ && has_spare(); }

/// A register that a rounding can change before its result is due.
int Emitter::scratch_of(const RoundingCode& r) { return r.temporary >= 0 ? r.temporary : r.dst; }

/// The branch is taken where a number may be outside: all but those in the middle of the window, so two instructions find out. A third lets +0 pass:
/// zeros are frequent (the outputs of rectifiers), and those of a random pattern would be branches that no CPU predicts.
std::uint32_t Emitter::branch_unless_ordinary(const RoundingCode* roundings, int count) {
  for (int i = 0; i < count; ++i) {
    const RoundingCode& r = roundings[i];
    const int t = scratch_of(r), k = nan_masks_[static_cast<std::size_t>(i)];
    const bool splat = (trace_.layout.splats & ~state_.displaced) >> r.src & 1;
    const unsigned bits = splat ? 256 : r.bits;  // the halves are equal
    asm_.vector(op::vptestmd, bits, k, r.src, r.src);
    asm_.vector(op::vpaddd, bits, t, r.src, constant(kOrdinary));
    asm_.vector(op::vptestmd, bits, k, t, constant(kNotOrdinary), {static_cast<std::uint8_t>(k), false, -1, -1});
  }
  asm_.test_opmasks(nan_masks_[0], nan_masks_[static_cast<std::size_t>(count - 1)]);
  return asm_.branch_forward(kNotZero);
}

/// Factors in the bounded loop. Those that are not ordinary are looked at behind the loops.
void Emitter::round_bounded_factors(const RoundingCode* roundings, int count) {
  Detour detour{branch_unless_ordinary(roundings, count), 0, {}, count, last_mark(), static_cast<int>(departures_.size())};
  std::copy_n(roundings, count, detour.rounding);
  for (RoundingCode& r : detour.rounding) r.rounder.nan_fix = false;  // NaNs depart
  departures_.push_back({place(roundings, count)});
  if (roundings[0].what == Rounded::factor) factors_ += static_cast<std::uint32_t>(count);
  for (int i = 0; i < count; ++i) {
    const RoundingCode& r = roundings[i];
    if (r.bits == 512 && r.temporary >= 0 && plain(r.rounder.format)) by_adding(r.dst, r.src, r.temporary, r.rounder.format);
    else round_tested(&r, 1);
  }
  detour.back = asm_.offset();
  detours_.push_back(detour);
}

/// What is not ordinary is mostly -0 (a mask times negative numbers, as in dropout). Taken where all of it is zero; the opmasks still say which lanes are meant.
std::uint32_t Emitter::branch_if_zeros(ConstantSource& k, const Detour& detour) {
  for (int i = 0; i < detour.count; ++i) {
    const RoundingCode& r = detour.rounding[i];
    const int m = nan_masks_[static_cast<std::size_t>(i)];
    asm_.vector(op::vptestmd, r.bits, m, r.src, k.constant(kMagnitude), {static_cast<std::uint8_t>(m), false, -1, -1});
  }
  asm_.test_opmasks(nan_masks_[0], nan_masks_[static_cast<std::size_t>(detour.count - 1)]);
  return asm_.branch_forward(kIsZero);
}

/// Where one is outside indeed, control goes on in the full loop, at the place where the bounded one is.
void Emitter::depart_unless_bounded(ConstantSource& k, const Detour& detour) {
  const bool zeros = detour.rounding[0].what == Rounded::factor;
  const std::uint32_t only_zeros = zeros ? branch_if_zeros(k, detour) : 0;
  for (int i = 0; i < detour.count; ++i) {
    const RoundingCode& r = detour.rounding[i];
    test_window(k, nan_masks_[static_cast<std::size_t>(i)], scratch_of(r), r.src, r.bits, r.what == Rounded::factor);
  }
  asm_.test_opmasks(nan_masks_[0], nan_masks_[static_cast<std::size_t>(detour.count - 1)]);
  asm_.branch_back(kNotZero, departures_[static_cast<std::size_t>(detour.departure)].arrival);
  if (zeros) asm_.bind(only_zeros);
}

/// All that must agree where control changes from one loop to the other, as one number: what the registers hold and are known to hold, the factors of the
/// FMA at hand, and where these roundings take place.
std::uint64_t Emitter::place(const RoundingCode* roundings, int count) const {
  Digest out;
  out.add(step_);
  out.add(state_);
  out.add(embedded_);
  for (const Rm& rm : prepared_) out.add(rm);
  for (int i = 0; i < count; ++i) {
    for (const int r : {roundings[i].dst, roundings[i].src, roundings[i].temporary}) out.add(static_cast<std::uint64_t>(r));
  }
  return out.value();
}

/// The full loop is where the bounded one left.
void Emitter::arrive(const RoundingCode* roundings, int count) {
  if (arrived_ >= departures_.size() || departures_[arrived_].place != place(roundings, count)) return fail();
  departures_[arrived_++].arrival = asm_.offset();
}

/// dst = round(x); v is a temporary.
void Emitter::by_adding(int dst, int x, int v, const Format& f) {
  const Mods nearest{0, false, -1, kNearest};
  asm_.vector(op::vpaddd, 512, v, x, constant((23u - f.mantissa_bits) << 23));
  asm_.vector(op::vsubps, 512, dst, x, v, nearest);
  asm_.vector(op::vaddps, 512, dst, dst, v, nearest);
}

/// x = round(x); u is a temporary.
void Emitter::by_multiplying(int x, int u, int scale) {
  const Mods nearest{0, false, -1, kNearest};
  asm_.vector(op::vmovups_load, 512, u, 0, x);
  asm_.vector(kFnmadd213, 512, u, scale, x, nearest);
  asm_.vector(kFmadd132, 512, x, u, scale, nearest);
}

/// After a trial pass.
void Emitter::share_out_sums() { adding_ = kFewFactors * factors_ <= sums_ ? 2 : 4; }

void Emitter::round_bounded_sum(int r, const Format& d) {
  const int t = acquire_temporary();
  const Rm scale = constant((127u + 23 - d.mantissa_bits) << 23);
  if (++sums_ % adding_ != 0 && !scale.memory) by_multiplying(r, t, scale.reg);
  else by_adding(r, r, t, d);
  release_temporary(t);
}

/// Before the loop: are the sums bounded, and what is rounded in place? Returns the branches to the full loop, all in one state.
std::vector<std::uint32_t> Emitter::enter_bounded(const EntryPlan& plan) {
  std::vector<std::uint32_t> out;
  if ((analysis_.live_flags[0] & kArithmeticFlags) != 0 || nan_masks_.empty()) {
    fail();
    return out;
  }
  busy_ = analysis_.sums | plan.round_in_place;
  const int t = acquire_temporary(), k = nan_masks_[0];
  remark();
  asm_.vector(op::vstmxcsr, 128, 3, 0, mxcsr_home());
  Mem mode = mxcsr_home();
  ++mode.disp;
  asm_.test_byte(mode, kRoundingMode);
  out.push_back(asm_.branch_forward(kNotZero));
  for (std::uint32_t m = analysis_.sums | plan.round_in_place; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    test_window(*this, k, t, r, 512, plan.round_in_place >> r & 1);
    asm_.test_opmasks(k, k);
    out.push_back(asm_.branch_forward(kNotZero));
  }
  release_temporary(t);
  busy_ = 0;
  return out;
}

}  // namespace fase::core
