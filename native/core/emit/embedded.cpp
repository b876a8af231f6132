// A broadcast of a rounded element from scratch that only FMAs read, in a loop that is there twice: they read the element themselves, as {1to16} operand.
// A broadcast of 512 bits takes a vector unit, where rounding needs them all; such an operand takes none.
//
// The register does not hold its value meanwhile. So nothing in between may fault or leave, and the register must be replaced after its last reader.
#include <utility>

#include "core/emit/emitter.h"

namespace fase::core {
namespace {

bool reads_guest_memory(const Insn& k) { return k.memory.reads || k.memory.writes || k.reads_memory || k.writes_memory; }

}  // namespace

/// An emulated FMA that multiplies by r, and by no other element of scratch.
bool Emitter::multiplies_by(const Step& step, int r) const {
  if (!step.emulated() || step.insn.operands[0].index == r) return false;
  int times = 0;
  for (int o = 1; o < 3; ++o) {
    const Operand& operand = step.insn.operands[o];
    if (operand.kind != OperandKind::vector) return false;
    times += operand.index == r;
    if (operand.index != r && (embedded_ >> operand.index & 1)) return false;
  }
  return times == 1;
}

/// Nothing from the current step to `last` can fault or leave.
bool Emitter::undisturbed_until(std::size_t last) const {
  if (analysis_.exits[last] != analysis_.exits[step_]) return false;
  if (next_group_ < memory_.groups.size() && memory_.groups[next_group_].begin <= last) return false;
  for (std::size_t i = step_ + 1; i <= last; ++i)
    if (reads_guest_memory(trace_.steps[i].insn) && (memory_.group[i] == kNever || memory_.kept[i])) return false;
  return true;
}

bool Emitter::can_embed(const Step& step, const BroadcastGroup& group) const {
  const Insn& k = step.insn;
  if (!twice_ || k.memory.bytes != 4 || k.vector_bits != 512 || group.format.literals != 1) return false;
  const int r = k.operands[0].index;
  std::size_t last = step_;
  for (const Touch* t = analysis_.next_touch(r, step_ + 1); t != nullptr; t = analysis_.next_touch(r, t->step + 1u)) {
    if (t->kills && !t->reads) return analysis_.exits[t->step] == analysis_.exits[step_] && undisturbed_until(last);
    if (!multiplies_by(trace_.steps[t->step], r)) return false;
    last = t->step;
  }
  return false;
}

void Emitter::embed(int r, const Mem& element) {
  embedded_ |= 1u << r;
  element_[r] = element;
}

/// Operand 1 of an FMA is a register. Factors may change places where neither is a NaN.
void Emitter::place_embedded(const Insn& insn, Rm& src1, Rm& src2) {
  if (!src1.memory) return;
  if (bounded_ && !src2.memory) return std::swap(src1, src2);
  const int r = insn.operands[1].index;
  asm_.vector(op::vbroadcastss, 512, r, 0, src1.mem);
  src1 = Rm(r);
}

}  // namespace fase::core
