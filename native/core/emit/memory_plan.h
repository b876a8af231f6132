// Memory operands of emulated FMAs: which read the same bytes again, and which lie side by side and can be rounded as one vector. A broadcast load
// (vbroadcastss, vbroadcastsd) whose register only such FMAs read counts as an operand too. Address registers that are moved on by a constant in
// between (add, sub, lea) are followed: places are compared as displacements from where the register pointed at the beginning of the trace.
#pragma once
#include <vector>

#include "core/assemble/assembler.h"
#include "core/emit/lookahead.h"
#include "core/region/analysis.h"

namespace fase::core {

inline constexpr std::uint16_t kNever = 0xffff;

/// Neighbouring {1toN} operands of one segment, with no store and no change of their address registers in between. They are loaded, rounded and
/// stored to scratch once, some time before the first FMA broadcasts from there: what was just stored takes a while to come back. Just
/// the bytes are read that the guest reads, and short gaps between them, which lie in the pages of their neighbours. Literals are vectors one after the
/// other.
struct BroadcastGroup {
  Mem first;  // lowest address, as it is before step `begin`
  Format format;
  std::uint16_t bits = 0;    // 128, 256, 512
  std::int32_t scratch = 0;  // fs displacement
  std::uint16_t begin = 0;   // the step before which it is rounded
  std::uint16_t end = 0;     // after the last that needs it
  std::int32_t literal(int i) const { return scratch + i * bits / 8; }
};

struct MemoryPlan {
  std::vector<std::uint16_t> next_same;  // by step: next step that reads the same operand, or kNever
  std::vector<std::uint16_t> group;      // by step: index into groups, or kNever
  std::vector<std::uint16_t> element;    // by step: which element of the group
  std::vector<bool> kept;                // by step: a load of the group whose register must hold the unrounded value too
  std::vector<BroadcastGroup> groups;
  std::uint32_t scratch_used = 0;  // bytes, for groups
};

/// What the plan may use.
struct MemoryOptions {
  std::int32_t scratch_at = 0;  // fs displacement of
  std::uint32_t scratch = 0;    // so many bytes for groups; 0: no groups
  unsigned widest = 512;        // bits of a group
  bool reuse = true;
  bool loads = true;  // group broadcast loads too
};

MemoryPlan plan_memory(const Trace& trace, const Analysis& analysis, const Operator& op, const MemoryOptions& options);

}  // namespace fase::core
