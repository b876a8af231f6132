// The guest code of a region in the order it is executed: from an FMA straight on, with side exits, perhaps round a loop. (FMAs are counted as well as
// emulated; where only the first matters, BF16 instructions are meant too.)
#pragma once
#include <vector>

#include "core/decode/decode.h"
#include "core/region/translate.h"

namespace fase::core {

enum class StepKind : std::uint8_t {
  copy,  // any plain instruction
  fma,   // an FMA; `treatment`
  bf16,  // a BF16 instruction; `treatment`
  exit,  // a conditional branch: control leaves to `target` when `condition` holds
};

struct Step {
  Insn insn;
  StepKind kind = StepKind::copy;
  Treatment treatment = Treatment::exclude;
  std::uint8_t condition = 0;
  Address target = 0;
  std::uint16_t dead = 0;   // an exit: flags that nobody reads there
  std::uint8_t fmas = 1;    // FMAs of the program that an FMA stands for
  std::uint32_t upper = 0;  // in a widened loop: pairs (the lower register's bit) whose upper register is only in the upper half, before the step

  bool emulated() const { return kind == StepKind::fma && treatment == Treatment::emulate; }
  bool emulated64() const { return kind == StepKind::fma && treatment == Treatment::emulate64; }
  bool emulated_dot() const { return kind == StepKind::bf16 && treatment == Treatment::emulate; }
  bool counted() const { return kind == StepKind::fma || kind == StepKind::bf16; }
  /// Where `totals` counts this step; null when it is not counted.
  std::uint32_t* count_in(Segment& totals) const;
};

struct Trace {
  std::vector<Step> steps;
  std::vector<Extent> guest;  // where they came from
  bool loop = false;          // after the last step comes the first
  bool branches = false;      // a loop, of which only one way round is here: an exit leads back into it (looked at for chunked accumulation alone)
  bool cut = false;           // no loop, and the limits are why it ends here
  Address exit = 0;           // else: where control goes after the last step
  Layout layout;              // what holds before the first step
};

/// Empty when the instruction at `request.entry` is not an FMA or a BF16 instruction that can be moved.
/// `before`: a trace from the same entry under other limits, so that nothing is decoded twice.
Trace build_trace(const Request& request, const Trace* before = nullptr);

}  // namespace fase::core
