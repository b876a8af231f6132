#include "core/emit/lookahead.h"

#include <algorithm>

namespace fase::core {

bool LookAhead::allows(const Step& step, int r, const Format& f, bool first, bool& ends, std::uint16_t& bits) const {
  const Insn& k = step.insn;
  if (!step.emulated()) {
    ends = k.kills.vectors >> r & 1 && !(k.reads.vectors >> r & 1);
    return ends;
  }
  const Roles roles = roles_of(k.fma, op_);
  for (int o = 1; o < 3; ++o)
    if (k.operands[o].kind == OperandKind::vector && k.operands[o].index == r && !(roles.format(o) == f)) return false;
  const unsigned width = k.fma.scalar ? 128 : k.vector_bits;
  if (k.operands[0].index == r) {
    // Operand 0 of a full-width FMA is rounded anyway; otherwise some lanes keep their value.
    const bool merges = k.mask != 0 && !k.zeroing;
    if (first || !(roles.format(0) == f) || merges || k.fma.scalar) return false;
    ends = true;
  }
  bits = std::max(bits, static_cast<std::uint16_t>(width));
  return true;
}

InPlace LookAhead::source(int r, std::size_t step, const Format& f, unsigned bits) const {
  InPlace out;
  out.bits = static_cast<std::uint16_t>(bits);
  const auto& touches = analysis_.touches[r];
  bool ends = false;
  if (!allows(trace_.steps[step], r, f, true, ends, out.bits)) return out;
  const Touch* t = analysis_.next_touch(r, step + 1);
  std::size_t i = t == nullptr ? touches.size() : static_cast<std::size_t>(t - touches.data());
  for (; i < touches.size(); ++i) {
    const std::size_t at = touches[i].step;
    if (!allows(trace_.steps[at], r, f, false, ends, out.bits)) return out;
    if (!ends) continue;
    out.possible = true;
    out.save = analysis_.exits[at] != analysis_.exits[step];
    return out;
  }
  out.save = true;
  for (i = 0; trace_.loop && i < touches.size() && touches[i].step < step && !ends; ++i)
    if (!allows(trace_.steps[touches[i].step], r, f, false, ends, out.bits)) return out;
  out.possible = true;
  return out;
}

InPlace LookAhead::loaded(int r, std::size_t step, Format& f) const {
  const Touch* t = analysis_.next_touch(r, step + 1);
  if (t == nullptr || !trace_.steps[t->step].emulated()) return {};
  const Insn& k = trace_.steps[t->step].insn;
  const Roles roles = roles_of(k.fma, op_);
  int role = -1;
  for (int o = 1; o < 3; ++o)
    if (k.operands[o].kind == OperandKind::vector && k.operands[o].index == r) role = o;
  if (role < 0 || roles.format(role).is_fp32() || roles.format(role).is_stochastic()) return {};
  f = roles.format(role);
  InPlace out = source(r, t->step, f, 128);
  out.save |= analysis_.exits[t->step] != analysis_.exits[step];
  return out;
}

}  // namespace fase::core
