// What can be known about a trace before a byte is emitted: who touches which register where, what is live, where segments begin.
#pragma once
#include <vector>

#include "core/region/trace.h"

namespace fase::core {

/// One access of an instruction to a vector register.
struct Touch {
  std::uint16_t step = 0;
  bool reads = false;  // needs the old value, at least in part
  bool kills = false;  // replaces all of it
};

struct SegmentPlan {
  std::uint16_t first = 0, last = 0;  // steps [first, last)
  std::uint16_t count_at = 0;         // the step before which it is counted
  Segment totals;
  int counter = -1;  // index into Translation::segments; -1: no FMA, not counted
};

struct Analysis {
  std::vector<Touch> touches[32];         // by vector register, in order
  std::vector<std::uint16_t> exits;       // number of exits before each step; one more entry than steps
  std::vector<std::uint16_t> live_flags;  // before each step
  std::vector<std::uint16_t> live_gprs;   // before each step
  std::vector<SegmentPlan> segments;
  int counters = 0;                // segments that are counted
  std::uint32_t accumulators = 0;  // registers of a loop that sums grow in; `accumulator` says how
  Accumulator accumulator[32];
  std::uint32_t written = 0;  // vector registers that any step writes
  std::uint32_t sums = 0;     // registers of a loop: every emulated FMA adds to one of them, 512 bits wide; else they are loaded, cleared, stored
  bool loads_sums = false;    // some of them are loaded
  RegisterSet used;           // by any instruction
  bool any_evex = false;

  /// No step writes vector register r.
  bool invariant(int r) const { return !(written >> r & 1); }

  /// First touch of vector register r at or after `step`; null when there is none before the end of the trace.
  const Touch* next_touch(int r, std::size_t step) const;

 private:
  mutable std::size_t latest_[32] = {};  // answers of next_touch(): the next question is about a step nearby
};

/// `chunked`: accumulators are looked for.
Analysis analyse(const Trace& trace, bool chunked);

}  // namespace fase::core
