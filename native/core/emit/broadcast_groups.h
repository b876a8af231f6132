// Neighbouring broadcast operands, gathered into vectors that are rounded once.
#pragma once
#include <vector>

#include "core/emit/memory_plan.h"

namespace fase::core {

/// A rounded memory operand, and the part of the trace in which equal addresses mean equal bytes.
struct Read {
  std::uint16_t step = 0;
  std::uint16_t epoch = 0;  // changes with every store and every write to the operand's address registers
  std::uint16_t segment = 0;
  std::uint16_t segment_first = 0;  // its first step
  std::uint16_t bits = 0;
  std::uint16_t elements = 1;  // of 4 bytes
  Mem mem;                     // as from the beginning of the trace
  Format format;
  bool broadcast = false;
  bool load = false;  // a load of its own, not an FMA's operand
  bool kept = false;  // a load whose register is also wanted as it is
  std::int64_t end() const { return mem.disp + 4 * elements; }
};

bool same_place(const Read& x, const Read& y);

/// Adds groups, and which steps read which element of them, to the plan.
void group_broadcasts(std::vector<Read> reads, const MemoryOptions& options, MemoryPlan& plan);

}  // namespace fase::core
