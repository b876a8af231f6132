#include "core/emit/emitter.h"

#include <algorithm>
#include <bit>

#include "core/emit/propagate.h"
#include "core/emit/rounder64.h"
#include "core/emit/sequence.h"

namespace fase::core {
namespace {

// Slots kept for saved registers whatever broadcast groups would like to have: for FMAs that need few registers at once, for others, whose constants want
// registers too, and for compound ones, which keep literals. And the most that registers can use.
constexpr std::uint32_t kHomesKept = 6, kMoreHomesKept = 12, kCompoundHomesKept = 20, kMostHomes = 32;
constexpr std::uint32_t kFewRegisters = 4;
// One VDPBF16PS: sum, memory operand, both factors rounded, a half of each, and what rounding takes.
constexpr std::uint32_t kDotRegisters = 6 + Sequence::kTemporaries + 1;

Isa choose_isa(const Request& request, const Analysis& analysis) {
  return request.machine.emit_avx512 || analysis.any_evex ? Isa::avx512 : Isa::avx2;
}

/// Two sources and what one rounding takes.
std::uint32_t registers_needed(const Operator& op, Isa isa) {
  const auto round = [isa](const Format& f, bool in_place) { return Rounder{isa, f, true, {}}.temporaries(in_place); };
  int most = op.exact ? (isa == Isa::avx512 ? 2 : 3) : 1;
  for (const Format& f : {op.a, op.b, op.c, op.d}) most = std::max(most, round(f, true));
  if (op.is_stochastic()) most += 2;  // the words, and one rounding's random bits
  if (op.fp64.active && !op.fp64.is_identity()) most = std::max(most, Rounder64::kTemporaries + 1);
  if (!op.is_compound()) return 2 + static_cast<std::uint32_t>(most);
  // The memory operand and the sum, with the literals of both factors or the split of an outer operand.
  return static_cast<std::uint32_t>(2 + std::max({op.a.literals + op.b.literals, +op.c.literals, +op.d.literals}) + most);
}

/// To know that a register was rounded is worth nothing where rounding again may change it.
std::uint32_t useful_passes(const Request& request) {
  const bool stable = request.op->is_stable() && (request.dot == nullptr || request.dot->is_stable());
  return request.limits.passes & (stable ? kAllPasses : ~static_cast<std::uint32_t>(kKnownGrid | kRoundInPlace));
}

/// What the formats say about sums: short ones stay far from the largest exponents, some know no infinities and NaNs.
Bounds bounds_of_sums(const Operator& op) {
  constexpr int kFar = 60;
  const auto exponent = [](const Format& f) { return static_cast<int>((std::max(f.max_positive, f.max_negative & kMagnitude)) >> 23) - 127; };
  const auto none = [&](bool (Format::*has)() const) { return !(op.a.*has)() && !(op.b.*has)() && !(op.c.*has)(); };
  const bool bounded = exponent(op.a) + exponent(op.b) + 2 < kFar && exponent(op.c) < kFar;
  const bool no_infinity = bounded && none(&Format::has_infinity);
  return {bounded, no_infinity, no_infinity && none(&Format::has_nan)};
}

/// A NaN among the operands may be off the result's grid.
bool brings_nans(const Operator& op) { return !within(op.a, op.d) || !within(op.b, op.d) || !within(op.c, op.d); }

std::uint32_t homes_kept(const Operator& op, std::uint32_t needed) {
  if (op.is_compound()) return kCompoundHomesKept;
  return needed > kFewRegisters || op.exact ? kMoreHomesKept : kHomesKept;
}

std::uint32_t slots_for_groups(const Request& request, std::uint32_t slots, std::uint32_t kept) {
  const bool groups = (request.limits.passes & kGroupBroadcasts) && !request.op->is_stochastic();
  return groups && slots > kept ? slots - kept : 0;
}

}  // namespace

Emitter::Emitter(const Request& request, const Trace& trace, const Analysis& analysis)
    : request_(request),
      passes_(useful_passes(request)),
      trace_(trace),
      analysis_(analysis),
      isa_(choose_isa(request, analysis)),
      needed_(registers_needed(*request.op, isa_)),
      twice_(passes(kBounded) && isa_ == Isa::avx512 && can_bound(*request.op, analysis)),
      brings_nans_(brings_nans(*request.op)),
      sum_bounds_(bounds_of_sums(*request.op)),
      dot_(request.dot != nullptr ? DotOperator(*request.dot) : DotOperator()),
      ahead_(trace, analysis, *request.op),
      asm_(request.out, request.at) {
  const bool any_dot = std::any_of(trace.steps.begin(), trace.steps.end(), [](const Step& s) { return s.emulated_dot(); });
  if (any_dot && !dot_.is_identity()) needed_ = std::max(needed_, kDotRegisters);
  const std::uint32_t slots = std::min<std::uint32_t>(request.scratch.vector_slots, 127);
  MemoryOptions options;
  options.scratch_at = request_.scratch.vectors;
  const std::uint32_t kept = homes_kept(*request.op, needed_);
  options.scratch = 64 * slots_for_groups(request, slots, kept);
  options.widest = isa_ == Isa::avx512 ? 512 : 256;
  options.reuse = passes(kReuseCopies);
  options.loads = passes(kRoundInPlace) && passes(kKnownGrid);
  memory_ = plan_memory(trace, analysis, *request_.op, options);
  for (std::uint32_t m = trace.layout.pairs; m; m &= m - 1) spare_ |= 1u << trace.layout.high[std::countr_zero(m)];
  spare_ &= ~analysis.used.vectors;
  // What groups leave serves registers. AVX2 has so few of them that moving more about costs more than it gains.
  first_home_ = (memory_.scratch_used + 63) / 64;
  home_limit_ = std::min(slots - first_home_, isa_ == Isa::avx2 && !memory_.groups.empty() ? kept : kMostHomes);
}

void Emitter::start_pass(bool trial) {
  asm_.reset(trial);
  std::fill(std::begin(home_), std::end(home_), std::int8_t{-1});
  homes_ = 0;
  exits_.clear();
  marks_.clear();
  constant_uses_.clear();
  for (auto& instructions : segment_instructions_) instructions.assign(analysis_.segments.size(), 0);
  start_body();
  packed_ = false;
  gprs_ = 0;
  own_mxcsr_ = false;
  totals_ = 0;
  prepared_.clear();
  nan_masks_open_ = false;
  detours_.clear();
  departures_.clear();
  arrived_ = 0;
  state_ = State{};
  step_ = from_ = 0;
  busy_ = 0;
  mark(request_.entry);
}

void Emitter::note_constant(std::uint64_t value) {
  const auto use = std::find_if(constant_uses_.begin(), constant_uses_.end(), [value](const ConstantUse& u) { return u.value == value; });
  if (use == constant_uses_.end()) constant_uses_.push_back({value, 1});
  else ++use->uses;
}

Rm Emitter::constant(std::uint32_t value) {
  note_constant(twice(value));
  if (const int r = held_constant(twice(value)); r >= 0) return r;
  return {Mem{Segment64::none, kPool, kNoRegister, 1, static_cast<std::int64_t>(asm_.constant(value))}, isa_ == Isa::avx512};
}

Rm Emitter::constant64(std::uint64_t value) {
  note_constant(value);
  if (const int r = held_constant(value); r >= 0) return r;
  return {Mem{Segment64::none, kPool64, kNoRegister, 1, static_cast<std::int64_t>(asm_.constant64(value))}, isa_ == Isa::avx512};
}

void Emitter::start_body() {
  next_group_ = 0;
  embedded_ = 0;
  factors_ = sums_ = 0;
  segment_ = 0;
  counted_ = false;
  pending_ = Segment{};
  segment_start_ = asm_.instructions();
}

void Emitter::body(const State& at_entry) {
  state_ = at_entry;
  std::fill(std::begin(added_), std::end(added_), std::uint16_t{0});
  const bool identity = request_.op->is_identity(), identity64 = request_.op->fp64.is_identity();
  for (step_ = 0; step_ < trace_.steps.size() && !failed_; ++step_) {
    const Step& step = trace_.steps[step_];
    from_ = step_;
    busy_ = 0;
    rip_ = step.insn.address;
    count_segment_if_due();
    load_groups();
    busy_ = 0;
    from_ = step_ + 1;
    if (step.kind == StepKind::exit) exit_step(step);
    else if (step.emulated() && request_.op->is_compound()) compound_step(step);
    else if (step.emulated() && !identity) fma_step(step);
    else if (step.emulated_dot() && !dot_.is_identity()) dot_step(step);
    else if (step.emulated64() && !identity64) fma64_step(step);
    else copy_step(step);
  }
  busy_ = 0;
  from_ = step_;
  enter_segment();
}

void Emitter::copy_step(const Step& step) {
  const Insn& k = step.insn;
  const std::uint32_t wanted = k.reads.vectors | (k.writes.vectors & ~k.kills.vectors);
  busy_ = k.reads.vectors | k.writes.vectors;
  bring_home(wanted);
  for (std::uint32_t m = wanted & state_.in_place; m; m &= m - 1) reload(std::countr_zero(m));
  mark(k.address);
  if (memory_.group[step_] != kNever && step.kind == StepKind::copy) return grouped_broadcast(step);
  asm_.copy(k);
  if (std::uint32_t* count = step.count_in(pending_)) *count -= step.fmas;
  after_write(k);
}

/// A broadcast load of which only FMAs read: the rounded element comes from scratch.
void Emitter::grouped_broadcast(const Step& step) {
  const Insn& k = step.insn;
  const BroadcastGroup& g = memory_.groups[memory_.group[step_]];
  const int r = k.operands[0].index;
  if (g.format.literals > 1 || memory_.kept[step_]) return grouped_copies(step);
  const Mem element = Mem::fs(g.scratch + 4 * memory_.element[step_]);
  const bool embedded = can_embed(step, g);
  if (!embedded) asm_.vector(k.memory.bytes == 4 ? op::vbroadcastss : op::vbroadcast64, k.vector_bits, r, 0, element);
  after_write(k);
  if (embedded) embed(r, element);
  state_.grid[r] = Grid::whole(g.format);
}

/// The same where the register is also wanted as it is, or there are several literals: copies stand in for it.
void Emitter::grouped_copies(const Step& step) {
  const Insn& k = step.insn;
  const BroadcastGroup& g = memory_.groups[memory_.group[step_]];
  const auto r = static_cast<std::uint8_t>(k.operands[0].index);
  mark(k.address);
  asm_.copy(k);
  after_write(k);
  mark(k.next());
  for (int i = 0; i < g.format.literals; ++i) {
    const int p = acquire(true);
    const VectorOp& broadcast = k.memory.bytes == 4 ? op::vbroadcastss : op::vbroadcast64;
    asm_.vector(broadcast, k.vector_bits, p, 0, Mem::fs(g.literal(i) + 4 * memory_.element[step_]));
    state_.holder[p] = Holder{Content::copy, r, g.format.only(i), static_cast<std::uint16_t>(k.vector_bits), 0, 0};
  }
}

/// A register that was just replaced as a whole is the guest's again, whatever was in it.
void Emitter::after_write(const Insn& k) {
  const std::uint32_t written = k.writes.vectors, killed = k.kills.vectors & ~k.reads.vectors;
  state_.in_place &= ~written;
  embedded_ &= ~written;
  for (std::uint32_t m = killed & state_.displaced; m; m &= m - 1) state_.holder[std::countr_zero(m)] = Holder{};
  state_.displaced &= ~killed;
  state_.dead &= ~killed;
  drop_copies_of(written);
  forget_grid64(written);
  if (!written) return;
  const Grid result = k.operands[0].kind == OperandKind::vector ? grid_after(k, state_.grid) : Grid{};
  const std::uint32_t explicit_target = k.operands[0].kind == OperandKind::vector ? 1u << k.operands[0].index : 0;
  for (std::uint32_t m = written; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    state_.grid[r] = (explicit_target & k.kills.vectors) >> r & 1 ? result : Grid{};
    if (state_.grid[r] == Grid::whole(kZeroValue)) state_.low64 |= 1u << r, state_.all64 |= 1u << r;
  }
}

void Emitter::exit_step(const Step& step) {
  mark(step.insn.address);
  const std::uint32_t fixup = asm_.branch_forward(step.condition);
  exits_.push_back({fixup, step.target, state_.in_scratch(), step.upper});
}

void Emitter::straight() {
  start_pass();
  open_counter_base();
  body(State{});
  EntryPlan plan;
  choose_constants(plan);
  if (!failed_ && plan.state.displaced) {
    start_pass();
    prologue(plan);
    body(plan.state);
  }
  pending_ = Segment{};
  mark(trace_.exit);
  leave(state_.in_scratch(), 0, trace_.exit);
}

bool Emitter::run(Translation& out) {
  choose_counter_base();
  choose_nan_masks();
  if (trace_.loop) loop();
  else straight();
  if (failed_) return false;
  finish(out);
  return true;
}

void Emitter::add_segments(Translation& out, bool of_full) const {
  for (std::size_t i = 0; i < analysis_.segments.size(); ++i) {
    const SegmentPlan& s = analysis_.segments[i];
    if (s.counter < 0) continue;
    Segment made = s.totals;
    made.instructions = segment_instructions_[of_full][i];
    if (twice_) (of_full ? made.unbounded : made.bounded) = made.emulated;
    out.segments.push_back(made);
  }
}

void Emitter::finish(Translation& out) {
  exit_stubs();
  detours();
  asm_.write_pool(isa_ == Isa::avx512 ? 4 : 32);
  out.size = asm_.offset();
  out.status = asm_.overflow() ? TranslateStatus::out_of_space : asm_.unreachable() ? TranslateStatus::unreachable : TranslateStatus::ok;
  add_segments(out, false);
  if (twice_) add_segments(out, true);
  out.marks = std::move(marks_);
  out.layout = trace_.layout;
  out.guest = trace_.guest;
  for (int r = 0; r < 32; ++r) out.vector_home[r] = home_[r] < 0 ? 0 : static_cast<std::int32_t>(home(r).disp);
  for (int g = 0; g < 16; ++g) out.gpr_home[g] = request_.scratch.words + 8 * gpr_word_[g];
  out.totals = request_.scratch.totals;
  std::copy(std::begin(analysis_.accumulator), std::end(analysis_.accumulator), std::begin(out.accumulator));
  for (std::size_t i = 0; i < nan_masks_.size(); ++i) out.opmask_home[nan_masks_[i]] = static_cast<std::int32_t>(nan_mask_home(i).disp);
  out.mxcsr_home = static_cast<std::int32_t>(mxcsr_home().disp);
}

}  // namespace fase::core
