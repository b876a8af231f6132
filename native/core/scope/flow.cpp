#include "core/scope/flow.h"

#include <algorithm>

namespace fase::core {
namespace {

constexpr std::uint8_t kRsp = 4;
constexpr int kMaxPasses = 6;

/// Makes a value in a vector register.
bool computes(OpKind kind) {
  switch (kind) {
    case OpKind::fma:
    case OpKind::multiply:
    case OpKind::add:
    case OpKind::round:
    case OpKind::bits:
    case OpKind::select:
    case OpKind::stop:
    case OpKind::other:
    case OpKind::from_gpr: return true;
    default: return false;
  }
}

State entry_state() {
  State s;
  for (ValueId r = 0; r < 32; ++r) s.vectors[r] = r + 1;
  s.words[kRsp] = {Word::frame, 0, 0};
  return s;
}

}  // namespace

void ValueFlow::run(const std::vector<Op>& ops) {
  find_targets(ops);
  std::size_t count = kFirst;
  for (const Op& op : ops) count += values_of(op);
  values_.clear();
  values_.reserve(count + 32 * (targets_.size() + 1));  // with all phis there can be
  values_.resize(count);
  for (ValueId id = 1; id < kFirst; ++id) values_[id].origin = id;
  // A block that lies before the only one that leads to it is reached a pass later.
  std::size_t reached = 0;
  for (int i = 0; i < kMaxPasses; ++i) {
    const std::size_t before = reached;
    reached = pass(ops, Unreached::skipped);
    if (reached == before) break;
  }
  if (reached != targets_.size() || indirect_.reached) pass(ops, Unreached::assumed);
}

void ValueFlow::find_targets(const std::vector<Op>& ops) {
  std::vector<Address> at;
  for (const Op& op : ops)
    if (op.kind == OpKind::branch || op.kind == OpKind::jump) at.push_back(static_cast<Address>(op.value));
  std::sort(at.begin(), at.end());
  at.erase(std::unique(at.begin(), at.end()), at.end());
  targets_.assign(at.size(), Target{});
  for (std::size_t i = 0; i < at.size(); ++i) targets_[i].at = at[i];
  indirect_ = Target{};
}

ValueFlow::Target* ValueFlow::target_at(Address a) {
  const auto i = std::lower_bound(targets_.begin(), targets_.end(), a, [](const Target& t, Address x) { return t.at < x; });
  return i != targets_.end() && i->at == a ? &*i : nullptr;
}

bool ValueFlow::same_origin(const Value& a, const Value& b) const {
  return a.constant || b.constant || (a.origin == b.origin && a.origin != kUnknown);
}

ValueId ValueFlow::common_origin(const Value& a, const Value& b, ValueId own) const {
  const Value& variable = a.constant ? b : a;
  return same_origin(a, b) && !variable.constant && variable.origin != kUnknown ? variable.origin : own;
}

/// What register `reg` holds at `t`, when `a` arrived before and `b` arrives now.
ValueId ValueFlow::merged(Target& t, unsigned reg, ValueId a, ValueId b) {
  if (a == b) return a;
  if (values_[a].constant && values_[b].constant && values_[a].zero == values_[b].zero) return a;
  if (t.phis.empty()) t.phis.assign(32, kUnknown);
  if (t.phis[reg] == kUnknown) {
    t.phis[reg] = static_cast<ValueId>(values_.size());
    values_.push_back({});
  }
  const ValueId id = t.phis[reg];
  if (b == id) return id;
  const Value x = values_[a], y = values_[b];
  Value v;
  v.kind = OpKind::select;
  v.origin = common_origin(x, y, id);
  v.rounded = x.rounded && y.rounded;
  v.links = std::min(x.links, y.links);
  v.generation = std::max(x.generation, y.generation);
  v.weak = x.weak || y.weak;
  if (a == id) std::copy(std::begin(x.in), std::end(x.in), v.in);
  else v.in[0] = a;
  ValueId* free_slot = std::find_if(std::begin(v.in), std::end(v.in), [&](ValueId in) { return in == kUnknown || in == b; });
  *(free_slot == std::end(v.in) ? free_slot - 1 : free_slot) = b;
  values_[id] = v;
  return id;
}

void ValueFlow::merge_slots(Slots& into, const Slots& from) const {
  const std::vector<Slot>& others = from.all();
  if (&into.all() == &others) return;
  const auto lost = [&, other = others.begin()](const Slot& s) mutable {
    while (other != others.end() && *other < s) ++other;
    if (other == others.end() || s < *other || other->bytes != s.bytes || !(other->word == s.word)) return true;
    return other->vector != s.vector && !(values_[other->vector].constant && values_[s.vector].constant);
  };
  if (std::any_of(into.all().begin(), into.all().end(), lost)) std::erase_if(into.own(), lost);
}

void ValueFlow::arrive(Target& t, const State& from) {
  if (!t.reached) {
    t.reached = true;
    t.state = from;
    return;
  }
  for (unsigned r = 0; r < 32; ++r) t.state.vectors[r] = merged(t, r, t.state.vectors[r], from.vectors[r]);
  for (unsigned r = 0; r < 16; ++r)
    if (!(t.state.words[r] == from.words[r])) t.state.words[r] = Word{};
  merge_slots(t.state.slots, from.slots);
}

/// Brings `now_` to what holds before `op`; `flows`: control also comes from the op before. False: nothing is known to lead here.
bool ValueFlow::enter(const Op& op, bool flows, Unreached unreached) {
  Target* t = target_at(op.at);
  if (t == nullptr && flows) return true;
  if (t != nullptr && flows) arrive(*t, now_);
  if (t != nullptr && t->reached) now_ = t->state;
  else if (unreached == Unreached::assumed) now_ = indirect_.reached ? indirect_.state : entry_state();
  else return false;
  return true;
}

/// Returns how many targets have been reached so far.
std::size_t ValueFlow::pass(const std::vector<Op>& ops, Unreached unreached) {
  now_ = entry_state();
  bool flows = true;
  ValueId id = kFirst;
  for (std::size_t i = 0; i < ops.size(); id += values_of(ops[i]), ++i) {
    const Op& op = ops[i];
    flows &= i == 0 || ops[i - 1].at + ops[i - 1].length == op.at;
    flows = enter(op, flows, unreached);
    if (!flows) continue;
    step(op, id);
    if (op.kind == OpKind::branch || op.kind == OpKind::jump) {
      if (Target* t = target_at(static_cast<Address>(op.value))) arrive(*t, now_);
    }
    if (op.kind == OpKind::indirect) arrive(indirect_, now_);
    flows = op.kind != OpKind::jump && op.kind != OpKind::indirect && op.kind != OpKind::end;
  }
  return static_cast<std::size_t>(std::count_if(targets_.begin(), targets_.end(), [](const Target& t) { return t.reached; }));
}

unsigned ValueFlow::values_of(const Op& op) {
  if (op.kind == OpKind::call) return 1;
  if (!computes(op.kind)) return 0;
  return std::find(std::begin(op.in), std::end(op.in), kMemory) == std::end(op.in) ? 1 : 2;
}

void ValueFlow::step(const Op& op, ValueId id) {
  switch (op.kind) {
    case OpKind::skip:
    case OpKind::branch:
    case OpKind::jump:
    case OpKind::indirect:
    case OpKind::end: return;
    case OpKind::store: return put(address(op), op.bytes, now_.vectors[op.in[0]], {});
    case OpKind::call: return call(id);
    case OpKind::push:
    case OpKind::pop:
    case OpKind::leave: return stack(op);
    default: return computes(op.kind) ? compute(op, id) : set_word(op);
  }
}

}  // namespace fase::core
