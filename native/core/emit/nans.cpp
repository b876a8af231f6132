// NaNs of factors in a loop. What keeps them (VFIXUPIMMPS) is the dearest of a rounding's five instructions on some CPUs, and factors hardly ever are
// NaNs: the loop asks whether one of them is and leaves the whole rounding to code behind it if so. VFPCLASSPS raises no exception; VCMPPS looks at two
// registers at once and raises none where {sae} says so, at 512 bits.
// Only where the arithmetic flags are dead, and with an opmask that the loop leaves alone.
#include <algorithm>

#include "core/emit/emitter.h"

namespace fase::core {
namespace {

constexpr std::int16_t kQuietOrSignaling = 0x81;  // vfpclassps
constexpr std::int16_t kUnordered = 3;            // vcmpps: either is a NaN
constexpr unsigned kNotZero = 5;                  // jnz
constexpr std::size_t kAhead = 8;                 // steps within which a factor is looked for that can be tested along

/// Constants for code that hardly ever runs: registers may hold others by then.
class Pool : public ConstantSource {
 public:
  explicit Pool(Assembler& a) : asm_(a) {}
  Rm constant(std::uint32_t value) override { return pooled(kPool, asm_.constant(value)); }
  Rm constant64(std::uint64_t value) override { return pooled(kPool64, asm_.constant64(value)); }

 private:
  static Rm pooled(std::uint8_t pool, std::uint32_t index) { return {Mem{Segment64::none, pool, kNoRegister, 1, index}, true}; }
  Assembler& asm_;
};

}  // namespace

void Emitter::choose_nan_masks() {
  const bool dear = request_.machine.dear_fixups && passes(kNanPaths);
  if (!trace_.loop || isa_ != Isa::avx512 || !(dear || twice_) || !passes(kDeadRegisters)) return;
  for (int k = 7; k >= 1 && nan_masks_.size() < 2; --k)
    if (!(analysis_.used.opmasks >> k & 1)) nan_masks_.push_back(k);
}

void Emitter::open_nan_masks() {
  for (std::size_t i = 0; i < nan_masks_.size(); ++i) asm_.store_opmask(nan_mask_home(i), nan_masks_[i]);
  nan_masks_open_ = !nan_masks_.empty();
  remark();
}

void Emitter::close_nan_masks() {
  if (!nan_masks_open_) return;
  for (std::size_t i = 0; i < nan_masks_.size(); ++i) asm_.load_opmask(nan_masks_[i], nan_mask_home(i));
}

std::uint8_t Emitter::saved_opmasks() const {
  unsigned out = 0;
  for (const int k : nan_masks_) out |= nan_masks_open_ ? 1u << k : 0u;
  return static_cast<std::uint8_t>(out);
}

/// The test changes all arithmetic flags.
bool Emitter::tests_nans(const Rounder& rounder) const {
  return nan_masks_open_ && rounder.has_nan_instruction() && (analysis_.live_flags[step_] & kArithmeticFlags) == 0;
}

/// Returns the branch.
std::uint32_t Emitter::branch_if_nan(const RoundingCode* roundings, int count) {
  const bool compare = count == 2 && roundings[0].bits == 512 && roundings[1].bits == 512;
  if (compare) {
    asm_.vector(op::vcmpps, 512, nan_masks_[0], roundings[0].src, roundings[1].src, {0, false, kUnordered, kSae});
  } else {
    for (int i = 0; i < count; ++i)
      asm_.vector(op::vfpclassps, roundings[i].bits, nan_masks_[i], 0, roundings[i].src, {0, false, kQuietOrSignaling, -1});
  }
  asm_.test_opmasks(nan_masks_[0], nan_masks_[compare ? 0 : count - 1]);
  return asm_.branch_forward(kNotZero);
}

/// One or two roundings with one branch.
void Emitter::round_unless_nan(const RoundingCode* roundings, int count) {
  if (bounded_) return round_bounded_factors(roundings, count);
  if (!departures_.empty() && roundings[0].what != Rounded::result) arrive(roundings, count);
  Detour detour{branch_if_nan(roundings, count), 0, {}, count, last_mark()};
  std::copy_n(roundings, count, detour.rounding);
  round_tested(roundings, count);
  detour.back = asm_.offset();
  detours_.push_back(detour);
}

/// None of them is a NaN.
void Emitter::round_tested(const RoundingCode* roundings, int count) {
  for (int i = 0; i < count; ++i) {
    RoundingCode fast = roundings[i];
    fast.rounder.nan_fix = false;
    fast.rounder.emit(asm_, *this, fast.bits, fast.dst, fast.src, &fast.temporary, fast.mask);
  }
}

bool Emitter::pairs_nans(const Format& f) const { return nan_masks_.size() == 2 && tests_nans(Rounder{isa_, f, true, {}}); }

/// Rounds a factor, and with it another that would be rounded soon anyway, so that they share a branch.
void Emitter::round_factor(const Factor& x) {
  Factor y;
  if (!pairs_nans(x.format) || !find_partner(x, y)) return round(x.dst, x.src, x.format, x.bits, true);
  round_two(x, y);
  note_rounded(y);
}

void Emitter::round_two(const Factor& x, const Factor& y) {
  const bool needed = x.dst == x.src || y.dst == y.src || wants_temporary();
  const int t = needed ? acquire_temporary() : -1;
  const auto rounding = [&](const Factor& f) { return RoundingCode{Rounder{isa_, f.format, true, {}}, f.bits, 0, f.dst, f.src, t}; };
  const RoundingCode both[2] = {rounding(x), rounding(y)};
  round_unless_nan(both, 2);
  if (needed) release_temporary(t);
}

/// A register that one of the next FMAs reads and rounds alike: it has its value already, and no register must make room. What that FMA finds is what
/// it would find if an earlier one had read the register.
bool Emitter::find_partner(const Factor& x, Factor& out) {
  if (request_.op->is_compound() || !passes(kKnownGrid) || !passes(kReuseCopies)) return false;
  const std::size_t end = std::min(trace_.steps.size(), step_ + kAhead);
  for (std::size_t at = step_; at < end && trace_.steps[at].kind != StepKind::exit; ++at) {
    const Insn& k = trace_.steps[at].insn;
    if (!trace_.steps[at].emulated()) continue;
    const Roles roles = roles_of(k.fma, *request_.op);
    for (const int o : {2, 1}) {
      const int r = k.operands[o].index;
      if (k.operands[o].kind != OperandKind::vector || r == k.operands[0].index || r == x.src || !(roles.format(o) == x.format)) continue;
      const unsigned bits = k.fma.scalar ? 128 : k.vector_bits;
      const bool ours = (state_.displaced | state_.in_place) >> r & 1;
      if (ours || known(r, x.format, k.fma.scalar) || find_copy(r, x.format, bits) >= 0 || analysis_.next_touch(r, step_)->step != at) continue;
      const InPlace place = passes(kRoundInPlace) ? ahead_.source(r, at, x.format, bits) : InPlace{};
      if (!(place.possible && !place.save) && !has_spare()) continue;
      busy_ |= 1u << r;
      out = factor(r, at, x.format, bits);
      return true;
    }
  }
  return false;
}

/// The roundings in full, which no segment counts. The marks are those at the branches.
void Emitter::detours() {
  Pool pool(asm_);
  for (const Detour& detour : detours_) {
    asm_.bind(detour.fixup);
    Mark m = detour.mark;
    m.offset = asm_.offset();
    put_mark(m);
    if (detour.departure >= 0) depart_unless_bounded(pool, detour);
    for (int i = 0; i < detour.count; ++i) {
      const RoundingCode& r = detour.rounding[i];
      r.rounder.emit(asm_, pool, r.bits, r.dst, r.src, &r.temporary, r.mask);
    }
    asm_.jump_back(detour.back);
  }
}

}  // namespace fase::core
