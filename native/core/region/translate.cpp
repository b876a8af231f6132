#include "core/region/translate.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/emit/emittable.h"
#include "core/emit/emitter.h"
#include "core/emit/rounder.h"
#include "core/region/analysis.h"
#include "core/region/trace.h"
#include "core/region/widen.h"

namespace fase::core {
namespace {

constexpr std::uint32_t kMostInstructions = 60000;  // steps are numbered in 16 bits
constexpr std::uint32_t kLongestLoop = 8192;        // instructions of a bounded loop, and of one that adds up in chunks (docs/operators.md)

/// Not with stochastic rounding: each instruction draws its own random bits. Nor with totals, each of which belongs to one register. Nor with double precision under an operator in the loop, which needs the
/// program's registers as they are.
bool can_widen(const Request& request, const Trace& trace) {
  if (!trace.loop || !request.machine.emit_avx512 || request.op->is_identity() || request.op->is_stochastic() || request.op->chunk != 0) return false;
  return std::none_of(trace.steps.begin(), trace.steps.end(), [](const Step& s) { return s.emulated64(); });
}

bool worth_widening(const Machine& machine, const Operator& op) {
  return machine.wide_units || op.exact || op.is_compound() || Rounder{Isa::avx512, op.d, true, {}}.always_512();
}

bool may_widen(const Request& request, const Trace& trace) {
  return (request.limits.passes & kWiden) && can_widen(request, trace) && worth_widening(request.machine, *request.op);
}

Request with_long_loops(const Request& request) {
  Request out = request;
  out.limits.instructions = std::max(request.limits.instructions, kLongestLoop);
  out.limits.fmas = std::max(request.limits.fmas, kLongestLoop);
  return out;
}

/// Totals belong to whole loops: also to those that are longer than a region usually is. What comes before a loop ends there.
void follow_long_loop(Request& request) {
  if (request.op->chunk == 0 || !request.limits.loops) return;
  const Request longer = with_long_loops(request);
  const Trace trace = build_trace(longer);
  if (trace.loop) request.limits = longer.limits;
  else request.limits.instructions = std::min(request.limits.instructions, static_cast<std::uint32_t>(trace.steps.size()));
}

bool emit(const Request& request, const Trace& trace, Translation& out) {
  return Emitter(request, trace, analyse(trace, request.op->chunk != 0)).run(out);
}

bool emit_widened(const Request& request, Trace trace, Translation& out) { return widen(trace) && emit(request, trace, out); }

bool emit_bounded(const Request& request, const Trace& trace, Translation& out) {
  const Analysis analysis = analyse(trace, false);
  return Emitter::can_bound(*request.op, analysis) && Emitter(request, trace, analysis).run(out);
}

bool may_bound(const Request& request) {
  return (request.limits.passes & kBounded) && request.limits.loops && request.machine.emit_avx512 && Emitter::can_bound(*request.op);
}

/// Where loops may be bounded, or test factors for NaNs: with flags that nobody wants.
bool may_test(const Request& request) {
  const Machine& m = request.machine;
  const bool nans = (request.limits.passes & kNanPaths) && m.avx512 && m.dear_fixups && !request.op->is_identity();
  return (request.limits.passes & kExitFlags) && (nans || may_bound(request));
}

/// A loop of sums, and widened if that makes it one.
bool translate_bounded(const Request& request, const Trace& trace, Translation& out) {
  if (!trace.loop) return false;
  if ((request.limits.passes & kWiden) && can_widen(request, trace)) {
    Trace wide = trace;
    if (widen(wide) && emit_bounded(request, wide, out)) return true;
  }
  return emit_bounded(request, trace, out);
}

/// Loops that are longer than a region usually is are followed for this.
bool translate_bounded_or_longer(const Request& request, Trace& trace, Translation& out) {
  if (!may_bound(request)) return false;
  if (!trace.cut) return translate_bounded(request, trace, out);
  const Request longer = with_long_loops(request);
  Trace whole = build_trace(longer, &trace);
  if (translate_bounded(longer, whole, out)) return true;
  if (!whole.loop && whole.steps.size() < trace.steps.size()) trace = std::move(whole);  // it ends before a long loop
  return false;
}

}  // namespace

Translation translate(const Request& request) {
  Request attempt = request;
  if (attempt.limits.instructions > kMostInstructions) attempt.limits.instructions = kMostInstructions;
  if (attempt.limits.instructions == 0) attempt.limits.instructions = 1;
  if (attempt.limits.fmas == 0) attempt.limits.fmas = 1;
  Translation out;
  if (!obstacle(*request.op).empty()) return out;
  if (request.dot != nullptr && !dot_obstacle(*request.dot).empty()) return out;
  attempt.whole_loops = attempt.op->chunk != 0 || may_bound(attempt);
  attempt.look_beyond = may_test(attempt);
  follow_long_loop(attempt);
  Trace trace = build_trace(attempt);
  if (translate_bounded_or_longer(attempt, trace, out)) return out;
  // A region that needs more registers or scratch than there are does without comfort, then is cut in half until it fits.
  for (;;) {
    if (trace.steps.empty()) return out;
    attempt.limits.passes = request.limits.passes & ~static_cast<std::uint32_t>(kBounded);
    if (may_widen(attempt, trace) && emit_widened(attempt, trace, out)) return out;
    if (emit(attempt, trace, out)) return out;
    attempt.limits.passes &= ~(kConstantRegisters | kGroupBroadcasts);
    if (emit(attempt, trace, out)) return out;
    if (trace.steps.size() == 1) return out;
    attempt.limits.instructions = static_cast<std::uint32_t>(trace.steps.size() / 2);
    trace = build_trace(attempt, &trace);
  }
}

void add_total(float* partial, const std::uint8_t* total, unsigned lanes) {
  for (unsigned i = 0; i < lanes; ++i) {
    float t;
    std::memcpy(&t, total + 4 * i, sizeof t);
    if (partial[i] == partial[i]) partial[i] += t;
    else partial[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(partial[i]) | kQuietBit);
  }
}

GuestState guest_state(const Translation& translation, std::uint32_t offset) {
  GuestState out;
  const auto after =
      std::upper_bound(translation.marks.begin(), translation.marks.end(), offset, [](std::uint32_t at, const Mark& m) { return at < m.offset; });
  if (after == translation.marks.begin()) return out;
  const Mark* mark = &*std::prev(after);
  out.rip = mark->rip;
  for (std::uint8_t r = 0; r < 32; ++r)
    if (mark->vectors >> r & 1) out.spilled.push_back({RegisterFile::vector, r, translation.vector_home[r]});
  for (std::uint8_t r = 0; r < 16; ++r)
    if (mark->gprs >> r & 1) out.spilled.push_back({RegisterFile::gpr, r, translation.gpr_home[r]});
  for (std::uint8_t r = 0; r < 32; ++r) {
    const Accumulator& sum = translation.accumulator[r];
    const auto lanes = static_cast<std::uint8_t>(sum.scalar ? 1 : sum.bits / 32);
    if (mark->totals >> r & 1) out.totals.push_back({r, lanes, translation.totals + 64 * r});
  }
  for (std::uint8_t k = 0; k < 8; ++k)
    if (mark->opmasks >> k & 1) out.spilled.push_back({RegisterFile::opmask, k, translation.opmask_home[k]});
  out.layout = translation.layout;
  out.upper = mark->upper;
  out.narrow = mark->widened ? translation.layout.wide() : 0;
  out.not_executed.emulated = mark->emulated;
  out.not_executed.excluded = mark->excluded;
  out.not_executed.fp64 = mark->fp64;
  out.not_executed.fp64_emulated = mark->fp64_emulated;
  out.not_executed.dots_emulated = mark->dots_emulated;
  out.not_executed.dots = mark->dots;
  out.not_executed.conversions = mark->conversions;
  if (mark->own_mxcsr) out.mxcsr_home = translation.mxcsr_home;
  out.to_nearest = mark->to_nearest;
  out.counter_access = mark->counter_base != 0xff;
  if (out.counter_access) out.counter_base = mark->counter_base;
  return out;
}

}  // namespace fase::core
