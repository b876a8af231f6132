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
    out.written |= k.writes.vectors;
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

/// This step adds a product to register r, and does nothing else with it.
bool accumulates(const Step& step, int r) {
  constexpr std::uint8_t kAddendFirst = 2;
  const Insn& k = step.insn;
  if (!step.emulated() || k.fma.form != kAddendFirst || k.mask != 0) return false;
  if (k.fma.kind != FmaKind::fmadd && k.fma.kind != FmaKind::fnmadd) return false;
  for (int o = 1; o < 3; ++o)
    if (k.operands[o].kind == OperandKind::vector && k.operands[o].index == r) return false;
  return k.operands[0].index == r;
}

/// Registers that a loop only adds products to, all of one width, the first before control can leave: at every exit they hold a sum.
void find_accumulators(const Trace& trace, Analysis& out) {
  for (int r = 0; r < 32; ++r) {
    const auto& touches = out.touches[r];
    if (touches.empty() || out.exits[touches.front().step] != 0) continue;
    const Insn& first = trace.steps[touches.front().step].insn;
    const bool all = std::all_of(touches.begin(), touches.end(), [&](const Touch& t) {
      const Insn& k = trace.steps[t.step].insn;
      return accumulates(trace.steps[t.step], r) && k.fma.scalar == first.fma.scalar && k.vector_bits == first.vector_bits;
    });
    if (!all) continue;
    out.accumulators |= 1u << r;
    out.accumulator[r] = {first.fma.scalar, first.vector_bits, static_cast<std::uint16_t>(touches.size())};
  }
}

/// Replaces a sum by one of which nothing is known, or by zero.
bool starts_sum(const Insn& k, int r) {
  if (!(k.kills.vectors >> r & 1) || k.mask != 0 || k.operands[0].index != r) return false;
  if (k.operand_count == 2) return k.operands[1].kind == OperandKind::memory;
  const bool exclusive_or = k.mnemonic == ZYDIS_MNEMONIC_VXORPS || k.mnemonic == ZYDIS_MNEMONIC_VPXORD;
  return exclusive_or && k.operand_count == 3 && k.operands[2].kind == OperandKind::vector && k.operands[1].index == k.operands[2].index;
}

/// None where not every emulated FMA adds to one, or another instruction is emulated that rounds.
void find_sums(const Trace& trace, Analysis& out) {
  std::uint32_t sums = 0;
  for (const Step& s : trace.steps) {
    if (s.emulated_dot()) return;
    if (!s.emulated()) continue;
    const int r = s.insn.operands[0].index;
    if (!accumulates(s, r) || s.insn.fma.scalar || s.insn.vector_bits != 512 || s.insn.embedded_rounding) return;
    sums |= 1u << r;
  }
  bool loads = false;
  for (std::uint32_t m = sums; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    for (const Touch& t : out.touches[r]) {
      const Step& s = trace.steps[t.step];
      if (accumulates(s, r)) continue;
      if (s.emulated() || (s.insn.writes.vectors != 0 && !starts_sum(s.insn, r))) return;
      loads |= s.insn.writes.vectors != 0 && s.insn.memory.present;
    }
  }
  out.sums = sums;
  out.loads_sums = loads;
}

/// Backward, twice round a loop. At an exit everything is live but flags that are known to be dead.
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
      const unsigned there = exit ? kArithmeticFlags & ~static_cast<unsigned>(s.dead) : 0u;
      const unsigned flags = (out.live_flags[i + 1] & ~s.insn.flags_killed) | s.insn.flags_read | there;
      const unsigned gprs = (out.live_gprs[i + 1] & ~s.insn.kills.gprs) | s.insn.reads.gprs;
      out.live_flags[i] = static_cast<std::uint16_t>(flags & kArithmeticFlags);
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
  const auto finish = [&](std::size_t end) {
    s.last = static_cast<std::uint16_t>(end);
    if (s.totals.any()) {
      s.counter = out.counters++;
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
    if (count == &s.totals.emulated) {
      s.totals.lanes += step.insn.fma.lanes(step.insn.vector_bits);
      s.totals.chunked += out.accumulators >> step.insn.operands[0].index & 1;
    }
    if (trace.steps[i].kind == StepKind::exit) finish(i + 1);
  }
  if (s.first < trace.steps.size()) finish(trace.steps.size());
}

}  // namespace

const Touch* Analysis::next_touch(int r, std::size_t step) const {
  const auto& t = touches[r];
  std::size_t& i = latest_[r];
  while (i > 0 && t[i - 1].step >= step) --i;
  while (i < t.size() && t[i].step < step) ++i;
  return i == t.size() ? nullptr : &t[i];
}

Analysis analyse(const Trace& trace, bool chunked) {
  Analysis out;
  note_touches(trace, out);
  count_exits(trace, out);
  if (chunked && trace.loop && !trace.branches) find_accumulators(trace, out);
  if (trace.loop) find_sums(trace, out);
  find_liveness(trace, out);
  split_segments(trace, out);
  return out;
}

}  // namespace fase::core
