// A region that is a loop: its body is emitted once to see what holds at its end, then again with that established before the loop.
#include <algorithm>
#include <bit>

#include "core/emit/emitter.h"

namespace fase::core {
namespace {
constexpr int kAttempts = 4;
constexpr std::uint32_t kStraightUses = 6;  // a constant read less often is not worth a register in straight code
constexpr std::uint32_t kFloatUses = 24;    // nor one that must be made free by moving guest registers about
}  // namespace

/// Constants move to registers as far as there are registers nobody uses; some stay for copies and temporaries.
void Emitter::choose_constants(EntryPlan& plan) {
  if (!passes(kConstantRegisters)) return;
  const std::uint32_t reachable = isa_ == Isa::avx512 ? 0xffffffff : 0xffff;
  std::uint32_t unused = reachable & ~analysis_.used.vectors;
  // One instruction can need so many registers of ours at once; each needs a home, be it an unused register's or one that makes room.
  const int needed = static_cast<int>(needed_);
  const int room = std::popcount(unused);
  int count = std::min(room - (room >= 3 ? 2 : 1), static_cast<int>(std::min(register_limit(), home_limit_)) - needed);
  std::stable_sort(constant_uses_.begin(), constant_uses_.end(), [](const ConstantUse& x, const ConstantUse& y) { return x.uses > y.uses; });
  for (const ConstantUse& use : constant_uses_) {
    if (count-- <= 0) break;
    if (!trace_.loop && use.uses < kStraightUses) break;
    const int r = 31 - std::countl_zero(unused);
    unused &= ~(1u << r);
    plan.state.displaced |= 1u << r;
    plan.state.holder[r] = Holder{Content::constant, 0, {}, 0, 0, use.value};
    plan.state.constants |= 1u << r;
  }
}

/// Constants that nearly every FMA reads, but for which choose_constants found no room.
void Emitter::note_hot_constants(const EntryPlan& plan) {
  if (!passes(kConstantRegisters)) return;
  std::uint32_t fmas = 0;
  for (const Step& s : trace_.steps) fmas += s.emulated();
  for (const ConstantUse& use : constant_uses_) {
    const bool held = std::any_of(std::begin(plan.state.holder), std::end(plan.state.holder),
                                  [&](const Holder& h) { return h.content == Content::constant && h.value == use.value; });
    if (!held && use.uses >= kFloatUses && 2 * use.uses >= fmas) hot_constants_.push_back(use.value);
  }
}

/// What holds where the first step begins, before anything is established.
State Emitter::entry_state() const {
  State s;
  s.displaced = s.dead = spare_;
  for (std::uint32_t m = spare_; m; m &= m - 1) s.holder[std::countr_zero(m)].content = Content::free;
  for (std::uint32_t m = analysis_.accumulators; m; m &= m - 1) s.grid[std::countr_zero(m)] = empty_sum_grid(std::countr_zero(m));
  return s;
}

/// Lays the program's registers out as the widened loop wants them.
void Emitter::pack() {
  const Layout& layout = trace_.layout;
  const auto insert = [&](int to, int from) { asm_.vector(op::vinsertf32x8, 512, to, to, from, {0, false, 1, -1}); };
  for (std::uint32_t m = layout.pairs; m; m &= m - 1) insert(std::countr_zero(m), layout.high[std::countr_zero(m)]);
  for (std::uint32_t m = layout.splats; m; m &= m - 1) insert(std::countr_zero(m), std::countr_zero(m));
  packed_ = layout.pairs != 0;
  state_ = entry_state();
  remark();
}

/// The other way. `upper`: pairs whose upper value is nowhere else.
void Emitter::unpack(std::uint32_t upper) {
  for (std::uint32_t m = upper; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    asm_.vector(op::vextractf32x8, 512, r, 0, static_cast<int>(trace_.layout.high[r]), {0, false, 1, -1});
  }
  for (std::uint32_t m = trace_.layout.wide(); m; m &= m - 1) asm_.vector(op::vmovups_load, 256, std::countr_zero(m), 0, std::countr_zero(m));
}

EntryPlan Emitter::entry_plan_for_loop(const State& end) {
  EntryPlan plan;
  plan.state = entry_state();
  choose_constants(plan);
  note_hot_constants(plan);
  if (!passes(kLoopState)) return plan;
  // As many registers as the body borrowed and never had to give back, besides those with constants.
  const int limit = static_cast<int>(std::min(register_limit(), home_limit_));
  const std::uint32_t reachable = isa_ == Isa::avx512 ? 0xffffffff : 0xffff;
  int wanted = std::popcount(end.displaced & ~analysis_.used.vectors & ~spare_);
  for (int r = 31; r >= 0 && wanted > 0; --r) {
    if (!((reachable & ~analysis_.used.vectors & ~plan.state.displaced) >> r & 1)) continue;
    if (std::popcount(plan.state.displaced & ~spare_) >= limit) break;
    plan.state.displaced |= 1u << r;
    plan.state.holder[r] = Holder{Content::free, 0, {}, 0, 0, 0};
    --wanted;
  }
  for (int r = 0; r < 32; ++r) {
    if (analysis_.accumulators >> r & 1) continue;
    if (end.in_place >> r & 1 && analysis_.invariant(r)) {
      plan.round_in_place |= 1u << r;
      plan.format[r] = end.grid[r].all();
      plan.bits[r] = 512;
      plan.state.in_place |= 1u << r;
      plan.state.grid[r] = end.grid[r];
    }
    const FirstRounding& first = first_[r];
    if (first.valid && passes(kKnownGrid) && within(first.scalar ? end.grid[r].low : end.grid[r].all(), first.format)) {
      plan.round_operand |= 1u << r;
      plan.format[r] = first.format;
      plan.bits[r] = first.bits;
      plan.scalar[r] = first.scalar;
      plan.state.grid[r] = first.scalar ? Grid{first.format, kAnyValue} : Grid::whole(first.format);
    }
  }
  return plan;
}

void Emitter::prologue(const EntryPlan& plan) {
  pack();
  for (std::uint32_t m = plan.state.displaced & ~spare_; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    if (!save(r)) return fail();
    state_.holder[r] = Holder{Content::free, 0, {}, 0, 0, 0};
  }
  open_counter_base();
  open_nan_masks();
  for (std::uint32_t m = plan.state.displaced; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    if (plan.state.holder[r].content == Content::constant) load_constant(r, plan.state.holder[r].value);
  }
  busy_ = plan.round_in_place | plan.round_operand;
  const unsigned widest = isa_ == Isa::avx512 ? 512 : 256;
  for (std::uint32_t m = plan.round_in_place; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    if (!save(r)) return fail();
    state_.displaced &= ~(1u << r);
    state_.in_place |= 1u << r;
    remark();
    round(r, r, plan.format[r], widest, true);
  }
  for (std::uint32_t m = plan.round_operand; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    if (!plan.scalar[r]) {
      round_sum(r, r, plan.format[r], plan.bits[r]);
      continue;
    }
    const int t = acquire_temporary();
    round_sum(t, r, plan.format[r], 128);
    asm_.vector(op::vmovss, 128, r, r, t);
    release_temporary(t);
  }
  busy_ = 0;
  bring_home(state_.displaced & ~plan.state.displaced);
  start_totals();
}

/// At the end of the body: makes the state what it was at the label. False, with a humbler plan, where that cannot be.
bool Emitter::close_loop(EntryPlan& plan) {
  const State& want = plan.state;
  // A source rounded in place whose next access replaces it need not be put back.
  for (std::uint32_t m = state_.in_place & ~want.in_place; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    const Touch* t = analysis_.next_touch(r, 0);
    if (t != nullptr && t->kills && !t->reads && analysis_.exits[t->step] == 0) state_.in_place &= ~(1u << r);
    else reload(r);
  }
  bring_home(state_.displaced & ~want.displaced);
  bool good = (want.displaced & ~state_.displaced) == 0;
  if (!good) fail();
  const auto give_up = [&](int r) {
    plan.round_in_place &= ~(1u << r);
    plan.round_operand &= ~(1u << r);
    plan.state.in_place &= ~(1u << r);
    plan.state.grid[r] = Grid{};
    good = false;
  };
  for (int r = 0; r < 32; ++r) {
    const bool lost_place = (want.in_place & ~state_.in_place) >> r & 1;
    const bool lost_grid = !within(state_.grid[r].low, want.grid[r].low) || !within(state_.grid[r].rest, want.grid[r].rest);
    if (lost_place || lost_grid) give_up(r);
  }
  return good;
}

void Emitter::loop() {
  if (analysis_.accumulators != 0 && request_.scratch.totals == 0) return fail();
  start_pass(true);
  open_counter_base();
  open_nan_masks();
  bounded_ = twice_;
  body(entry_state());
  bounded_ = false;
  if (failed_) return;
  share_out_sums();
  if (detours_.empty() && !twice_) nan_masks_.clear();  // nothing to test
  EntryPlan plan = entry_plan_for_loop(state_);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt + 1 == kAttempts) {
      plan.round_in_place = plan.round_operand = plan.state.in_place = 0;
      std::fill(std::begin(plan.state.grid), std::end(plan.state.grid), Grid{});
    }
    start_pass();
    prologue(plan);
    if (twice_ ? both_passes(plan) : pass(plan)) return;
    if (failed_) return;
  }
  fail();
}

/// Once round. False, with a humbler plan, where the state at the end is not what it was at the start.
bool Emitter::pass(EntryPlan& plan) {
  asm_.align(32);
  const std::uint32_t label = asm_.offset();
  start_body();
  body(plan.state);
  rip_ = request_.entry;
  if (failed_ || !close_loop(plan)) return false;
  pending_ = Segment{};
  mark(request_.entry);
  end_pass();
  asm_.jump_back(label);
  return true;
}

/// The bounded loop, and the full one behind it.
bool Emitter::both_passes(EntryPlan& plan) {
  bounded_ = true;
  const std::vector<std::uint32_t> refused = enter_bounded(plan);
  const State tested = state_;
  bring_home(state_.displaced & ~plan.state.displaced);
  const bool good = pass(plan);
  bounded_ = false;
  if (!good) return false;
  for (const std::uint32_t fixup : refused) asm_.bind(fixup);
  state_ = tested;
  remark();
  bring_home(state_.displaced & ~plan.state.displaced);
  if (!pass(plan)) return false;
  if (arrived_ != departures_.size()) fail();
  return !failed_;
}

}  // namespace fase::core
