// Segment counters, the ways out of a region, and the marks that tell what the guest would see.
#include <bit>

#include "core/emit/emitter.h"

namespace fase::core {
namespace {
constexpr int kStackPointer = 4;
}  // namespace

/// Holding the counter block's address all through pays when it is used more than once a pass.
void Emitter::choose_counter_base() {
  if (!trace_.loop && analysis_.counters < 2) return;
  const unsigned for_totals = analysis_.accumulators != 0 ? 1u << kRcx : 0;
  const unsigned used = analysis_.used.gprs | 1u << kStackPointer | for_totals;
  for (int g = 15; g >= 0; --g) {
    if (used >> g & 1) continue;
    base_ = g;
    return;
  }
}

void Emitter::open_counter_base() {
  if (base_ < 0) return;
  save_gpr(base_, kBaseWord);
  asm_.load(base_, Mem::fs(request_.scratch.counters));
}

void Emitter::save_gpr(int g, int word) {
  asm_.store(Mem::fs(request_.scratch.words + 8 * word), g);
  gprs_ |= static_cast<std::uint16_t>(1u << g);
  gpr_word_[g] = static_cast<std::int8_t>(word);
  remark();
}

bool Emitter::gpr_free_at(int g) const { return !(analysis_.live_gprs[step_] >> g & 1); }

/// Preferably one whose value nobody reads.
int Emitter::spare_gpr(std::uint32_t avoid) const {
  avoid |= 1u << kStackPointer | gprs_;
  int any = -1;
  for (int g = 15; g >= 0; --g) {
    if (avoid >> g & 1) continue;
    if (passes(kDeadRegisters) && gpr_free_at(g)) return g;
    if (any < 0 || !(analysis_.used.gprs >> g & 1)) any = g;
  }
  return any;
}

void Emitter::enter_segment() {
  while (segment_ < analysis_.segments.size() && analysis_.segments[segment_].last <= step_) {
    segment_instructions_[full()][segment_] = asm_.instructions() - segment_start_;
    segment_start_ = asm_.instructions();
    ++segment_;
    counted_ = false;
    pending_ = Segment{};
  }
}

void Emitter::count_segment_if_due() {
  enter_segment();
  if (segment_ >= analysis_.segments.size() || counted_) return;
  const SegmentPlan& s = analysis_.segments[segment_];
  if (s.counter < 0 || step_ != s.count_at) return;
  count(s);
  counted_ = true;
  pending_ = s.totals;
}

/// The full one of two loops counts for itself.
Mem Emitter::counter(int base, const SegmentPlan& segment) const {
  const auto index = request_.first_counter + static_cast<unsigned>(segment.counter + (full() ? analysis_.counters : 0));
  return Mem::at(static_cast<std::uint8_t>(base), static_cast<std::int32_t>(8 * index));
}

/// One more pass through this segment, without touching a live flag.
void Emitter::count(const SegmentPlan& segment) {
  const bool own_base = base_ >= 0;
  const int base = own_base ? base_ : spare_gpr(0);
  const bool save_base = !own_base && !(passes(kDeadRegisters) && gpr_free_at(base));
  if (save_base) save_gpr(base, kBaseWord);
  if (!own_base) asm_.load(base, Mem::fs(request_.scratch.counters));
  const Mem at = counter(base, segment);
  counter_access_ = static_cast<std::uint8_t>(base);
  if (passes(kDeadRegisters) && (analysis_.live_flags[step_] & ~kCarry) == 0) {
    remark();
    asm_.inc(at);
  } else {
    const int value = spare_gpr(1u << base);
    const bool save_value = !(passes(kDeadRegisters) && gpr_free_at(value));
    if (save_value) save_gpr(value, kScratchWord);
    remark();
    asm_.load(value, at);
    asm_.lea(value, Mem::at(static_cast<std::uint8_t>(value), 1));
    asm_.store(at, value);
    if (save_value) restore_gpr(value);
  }
  counter_access_ = 0xff;
  if (save_base) restore_gpr(base);
  remark();
}

/// A GPR for a few instructions, none of which can fault.
int Emitter::borrow_gpr() {
  if (base_ >= 0) return base_;
  const int g = spare_gpr(0);
  if (!(passes(kDeadRegisters) && gpr_free_at(g))) save_gpr(g, kBaseWord);
  return g;
}

void Emitter::return_gpr(int g) {
  if (g == base_) asm_.load(base_, Mem::fs(request_.scratch.counters));
  else if (gprs_ >> g & 1) restore_gpr(g);
}

void Emitter::restore_gpr(int g) {
  asm_.load(g, Mem::fs(request_.scratch.words + 8 * gpr_word_[g]));
  gprs_ &= static_cast<std::uint16_t>(~(1u << g));
  remark();
}

/// Gives everything back and goes to guest code.
void Emitter::leave(std::uint32_t vectors, std::uint32_t upper, Address target) {
  for (std::uint32_t m = vectors; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    asm_.vector(op::vmovups_load, spill_bits(), r, 0, home(r));
  }
  if (totals_ != 0) {
    state_.displaced = 0;
    remark();
    add_totals();
  }
  unpack(upper);
  close_nan_masks();
  if (base_ >= 0) asm_.load(base_, Mem::fs(request_.scratch.words + 8 * kBaseWord));
  asm_.jump(target);
}

void Emitter::exit_stubs() {
  for (const Exit& e : exits_) {
    asm_.bind(e.fixup);
    state_ = State{};
    state_.displaced = e.vectors;  // the homes still hold the values while they are being reloaded
    pending_ = Segment{};
    totals_ = analysis_.accumulators;
    mark(e.target);
    leave(e.vectors, e.upper, e.target);
  }
}

void Emitter::mark(Address rip) {
  rip_ = rip;
  if (!request_.marks) return;
  const auto narrow = [](std::uint32_t n) { return static_cast<std::uint16_t>(n); };
  const std::uint32_t upper = step_ < trace_.steps.size() ? trace_.steps[step_].upper : trace_.layout.pairs;
  const Mark m{asm_.offset(),
               state_.in_scratch(),
               totals_,
               rip,
               gprs_,
               narrow(pending_.emulated),
               narrow(pending_.excluded),
               narrow(pending_.fp64),
               narrow(pending_.fp64_emulated),
               narrow(pending_.dots_emulated),
               narrow(pending_.dots),
               narrow(pending_.conversions),
               counter_access_,
               packed_,
               packed_ ? upper : 0,
               own_mxcsr_,
               saved_opmasks(),
               bounded_};
  put_mark(m);
}

Mark Emitter::last_mark() const { return marks_.empty() ? Mark{} : marks_.back(); }

void Emitter::put_mark(Mark m) {
  if (!request_.marks) return;
  if (!marks_.empty() && marks_.back().offset == m.offset) marks_.pop_back();
  if (!marks_.empty()) {
    Mark last = marks_.back();
    last.offset = m.offset;
    if (last == m) return;
  }
  marks_.push_back(m);
}

}  // namespace fase::core
