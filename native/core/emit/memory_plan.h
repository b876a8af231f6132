// Memory operands of emulated FMAs: which read the same bytes again, and which lie side by side and can be rounded as one vector.
#pragma once
#include <vector>

#include "core/assemble/assembler.h"
#include "core/region/analysis.h"

namespace fase::core {

inline constexpr std::uint16_t kNever = 0xffff;

/// Neighbouring {1toN} operands of one segment, with no store and no change of their address registers in between. They are loaded, rounded and
/// stored to scratch once; the FMAs then broadcast from there. Exactly the bytes are read that the guest reads.
struct BroadcastGroup {
  Mem first;                    // lowest address
  std::uint16_t bits = 0;       // 128, 256, 512
  std::int32_t scratch = 0;     // fs displacement
  std::uint16_t begin = 0;      // step that rounds it: the first that needs it
  std::uint16_t end = 0;        // after the last that needs it
};

struct MemoryPlan {
  std::vector<std::uint16_t> next_same;  // by step: next step that reads the same operand, or kNever
  std::vector<std::uint16_t> group;      // by step: index into groups, or kNever
  std::vector<std::uint16_t> element;    // by step: which element of the group
  std::vector<BroadcastGroup> groups;
};

/// `scratch`: bytes at fs displacement `scratch_at` that groups may use; 0: no groups.
MemoryPlan plan_memory(const Trace& trace, const Analysis& analysis, const Operator& op, std::int32_t scratch_at, std::uint32_t scratch,
                       bool reuse);

}  // namespace fase::core
