// What an instruction does to the value in a vector register.
#include <algorithm>

#include "core/scope/flow.h"

namespace fase::core {
namespace {

/// False for x and 1/x: Newton's iteration multiplies these, a polynomial never does.
bool same_generation(const Value& a, const Value& b) { return a.constant || b.constant || a.generation == b.generation; }

std::uint8_t sum(unsigned a, unsigned b) { return static_cast<std::uint8_t>(std::min(a + b, 255u)); }

}  // namespace

ValueId ValueFlow::memory_value(const Op& op, ValueId own) {
  const Word at = address(op);
  if (at.kind == Word::frame) {
    const Slot* s = slot(at);
    if (s != nullptr && s->vector != kUnknown) return s->vector;
  }
  Value v;
  v.kind = OpKind::other;
  v.origin = own;
  v.constant = at.kind == Word::constant && constants_.is_constant(static_cast<Address>(at.value));
  values_[own] = v;
  return own;
}

ValueId ValueFlow::source(const Op& op, std::uint8_t in, ValueId id) {
  if (in < 32) return now_.vectors[in];
  return in == kMemory ? memory_value(op, id + 1) : kUnknown;
}

/// x*y + c. A link is a step with a constant addend on one variable: c1*x + c0, p*x + c, (p)*x2 + (q) of Estrin's scheme joins two chains.
void ValueFlow::set_fma(Value& v, const Value& x, const Value& y, const Value& c) const {
  v.constant_factor = x.constant || y.constant;
  v.constant_addend = c.constant && !c.zero;
  const bool one_variable = same_origin(x, y) && same_origin(x, c) && same_origin(y, c);
  if (!one_variable || !same_generation(x, y)) return;
  const bool same_product = (c.in[0] == v.in[0] && c.in[1] == v.in[1]) || (c.in[0] == v.in[1] && c.in[1] == v.in[0]);
  v.residue |= c.kind == OpKind::multiply && same_product;
  const unsigned factor = std::max(x.links, y.links);
  v.links = v.constant_addend ? sum(factor, 1) : sum(factor, c.links);
}

/// x + y. Adding a constant twice is not a polynomial but the rounding trick (v + magic) - magic.
void ValueFlow::set_sum(Value& v, const Value& x, const Value& y) const {
  if (!same_origin(x, y)) return;
  const bool with_constant = x.constant || y.constant;
  const Value& variable = x.constant ? y : x;
  v.constant_addend = with_constant;
  if (!with_constant) v.links = sum(x.links, y.links);
  else if (variable.constant_addend) v.rounded = true;
  else if (variable.links > 0 || variable.scaled) v.links = sum(variable.links, 1);
}

void ValueFlow::compute(const Op& op, ValueId id) {
  Value v;
  v.kind = op.kind;
  v.constant = true;
  v.rounded = true;
  v.origin = id;
  unsigned n = 0, links = 0;
  const auto take = [&](ValueId in) {
    const Value& x = values_[in];
    v.origin = n == 0 || v.constant   ? (x.constant || x.origin == kUnknown ? id : x.origin)
               : x.constant           ? v.origin
               : x.origin == v.origin ? x.origin
                                      : id;
    v.constant &= x.constant;
    v.rounded &= x.rounded || x.constant;
    links = std::max<unsigned>(links, x.links);
    v.generation = std::max(v.generation, x.generation);
    v.in[n++] = in;
  };
  for (const std::uint8_t in : op.in)
    if (in != kNone && op.kind != OpKind::from_gpr) take(source(op, in, id));
  if (op.keeps && n < 3) take(now_.vectors[op.dst]);
  v.constant &= n != 0 || op.zeroes;
  if (op.kind == OpKind::from_gpr) v.constant = now_.words[op.in[0] & 15].kind == Word::constant;
  v.zero = op.zeroes;
  v.constant |= op.zeroes;

  const Value &x = values_[v.in[0]], &y = values_[v.in[1]], &c = values_[v.in[2]];
  const bool one_variable = v.origin != id;
  const bool pass_on_rounded = op.kind == OpKind::select && n != 0;
  v.rounded = !v.constant && (op.kind == OpKind::round || op.kind == OpKind::from_gpr || (pass_on_rounded && v.rounded));
  const bool arithmetic = op.kind == OpKind::fma || op.kind == OpKind::add || op.kind == OpKind::multiply || op.kind == OpKind::select;
  v.residue = arithmetic && one_variable && (x.residue || y.residue || c.residue);
  if (op.kind == OpKind::stop) v.generation = sum(v.generation, 1);
  if (!v.constant) {
    switch (op.kind) {
      case OpKind::fma: set_fma(v, x, y, c); break;
      case OpKind::add: set_sum(v, x, y); break;
      case OpKind::multiply:
        v.scaled = x.constant != y.constant;
        if (one_variable && same_generation(x, y) && x.kind != OpKind::bits && y.kind != OpKind::bits) v.links = static_cast<std::uint8_t>(links);
        break;
      case OpKind::select:
        if (one_variable) v.links = static_cast<std::uint8_t>(links);
        v.scaled = n == 1 && x.scaled;
        v.constant_addend = n == 1 && x.constant_addend;
        break;
      default: break;
    }
  }
  v.weak = !(v.constant_factor || v.scaled || x.scaled || y.scaled);
  bool continued = false;
  for (const ValueId in : v.in) {
    if (values_[in].links == 0) continue;
    v.weak = values_[in].weak && (v.weak || !continued);
    continued = true;
  }
  values_[id] = v;
  now_.vectors[op.dst] = id;
}

}  // namespace fase::core
