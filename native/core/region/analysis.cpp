#include "core/region/analysis.h"

#include <algorithm>
#include <bit>

namespace fase::core {
namespace {

void note_touches(const Trace& trace, Analysis& out) {
  for (std::size_t i = 0; i < trace.steps.size(); ++i) {
    const Insn& k = trace.steps[i].insn;
    out.used.add(k.reads);
    out.used.add(k.writes);
    out.any_evex |= k.encoding == Encoding::evex;
    for (std::uint32_t m = k.reads.vectors | k.writes.vectors; m; m &= m - 1) {
      const int r = std::countr_zero(m);
      const bool kills = k.kills.vectors >> r & 1;
      out.touches[r].push_back({static_cast<std::uint16_t>(i), static_cast<bool>(k.reads.vectors >> r & 1) || !kills, kills});
    }
  }
}

void count_exits(const Trace& trace, Analysis& out) {
  std::uint16_t n = 0;
  for (const Step& s : trace.steps) {
    out.exits.push_back(n);
    if (s.kind == StepKind::exit) ++n;
  }
  out.exits.push_back(n);
}

/// Backward, twice round a loop. At an exit everything is live.
void find_liveness(const Trace& trace, Analysis& out) {
  const std::size_t n = trace.steps.size();
  out.live_flags.assign(n + 1, kArithmeticFlags);
  out.live_gprs.assign(n + 1, 0xffff);
  if (trace.loop) out.live_flags[n] = 0, out.live_gprs[n] = 0;
  for (int pass = 0; pass < (trace.loop ? 2 : 1); ++pass) {
    if (pass == 1) out.live_flags[n] = out.live_flags[0], out.live_gprs[n] = out.live_gprs[0];
    for (std::size_t i = n; i-- > 0;) {
      const Step& s = trace.steps[i];
      const bool exit = s.kind == StepKind::exit;
      const unsigned flags = (out.live_flags[i + 1] & ~s.insn.flags_killed) | s.insn.flags_read;
      const unsigned gprs = (out.live_gprs[i + 1] & ~s.insn.kills.gprs) | s.insn.reads.gprs;
      out.live_flags[i] = static_cast<std::uint16_t>(exit ? static_cast<unsigned>(kArithmeticFlags) : flags & kArithmeticFlags);
      out.live_gprs[i] = exit ? 0xffff : static_cast<std::uint16_t>(gprs);
    }
  }
}

/// Counting costs least where no arithmetic flag but the carry is live; it must come before the segment's first FMA.
void choose_counting_point(const Trace& trace, const Analysis& a, SegmentPlan& s) {
  for (std::uint16_t i = s.first; i < s.last; ++i) {
    s.count_at = i;
    if ((a.live_flags[i] & ~kCarry) == 0 || trace.steps[i].counted()) return;
  }
}

void split_segments(const Trace& trace, Analysis& out) {
  SegmentPlan s;
  int counters = 0;
  const auto finish = [&](std::size_t end) {
    s.last = static_cast<std::uint16_t>(end);
    if (s.totals.any()) {
      s.counter = counters++;
      choose_counting_point(trace, out, s);
    }
    out.segments.push_back(s);
    s = SegmentPlan{};
    s.first = static_cast<std::uint16_t>(end);
  };
  for (std::size_t i = 0; i < trace.steps.size(); ++i) {
    const Step& step = trace.steps[i];
    std::uint32_t* count = step.count_in(s.totals);
    if (count != nullptr) *count += step.fmas;
    if (count == &s.totals.emulated) s.totals.lanes += step.insn.fma.lanes(step.insn.vector_bits);
    if (trace.steps[i].kind == StepKind::exit) finish(i + 1);
  }
  if (s.first < trace.steps.size()) finish(trace.steps.size());
}

}  // namespace

const Touch* Analysis::next_touch(int r, std::size_t step) const {
  const auto& t = touches[r];
  const auto it = std::lower_bound(t.begin(), t.end(), step, [](const Touch& x, std::size_t s) { return x.step < s; });
  return it == t.end() ? nullptr : &*it;
}

Analysis analyse(const Trace& trace) {
  Analysis out;
  note_touches(trace, out);
  count_exits(trace, out);
  find_liveness(trace, out);
  split_segments(trace, out);
  return out;
}

}  // namespace fase::core
