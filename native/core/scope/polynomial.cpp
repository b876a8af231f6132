#include <algorithm>

#include "core/scope/flow.h"
#include "core/scope/scope.h"

namespace fase::core {
namespace {

std::vector<Op> ops_of(const CodeView& code, const Discovery& found) {
  std::vector<Op> ops;
  ops.reserve(found.instructions);
  std::vector<std::uint8_t> bytes;
  Insn insn;
  for (const Extent& e : found.covered) {
    bytes.resize(e.size());
    bytes.resize(code.read(e.begin, bytes.data(), bytes.size()));
    for (std::size_t i = 0; i < bytes.size() && decode(bytes.data() + i, bytes.size() - i, e.begin + i, insn); i += insn.length)
      ops.push_back(op_of(insn));
  }
  return ops;
}

/// Marks the values that belong to the inside of a transcendental function.
class Marker {
 public:
  explicit Marker(const ValueFlow& flow) : flow_(flow), seen_(flow.size()), inside_(flow.size()), after_(flow.size()) {}

  /// From every polynomial back to the argument: its own steps, and the range reduction that feeds it.
  void back() {
    for (ValueId id = 1; id < flow_.size(); ++id)
      if (is_polynomial(flow_.value(id))) visit(id, flow_.value(id).origin, kStep);
    while (!pending_.empty()) {
      const Visit v = pending_.back();
      pending_.pop_back();
      explore(v);
    }
  }

  /// From every polynomial on, as long as nothing but the same argument comes in: the reconstruction.
  void forward() {
    for (int i = 0; i < 2; ++i)
      for (ValueId id = 1; id < flow_.size(); ++id) after_[id] = is_polynomial(flow_.value(id)) || continues(id);
  }

  bool marked(ValueId id) const { return inside_[id] || after_[id] || last_step(id); }

 private:
  /// How a value takes part in what was visited before it.
  enum Role : std::uint8_t {
    kStep = 1,     // a factor, or the polynomial itself
    kSummand = 2,  // added to a polynomial: x - x^2/2 of log1p
    kToRound = 4,  // on the way to a rounding: n = round(x * log2e)
  };
  struct Visit {
    ValueId id, origin;
    Role role;
  };

  void visit(ValueId id, ValueId origin, Role role) {
    if (id == kUnknown || seen_[id] & role) return;
    seen_[id] |= role;
    pending_.push_back({id, origin, role});
  }

  bool reduces(const Value& v) const { return v.constant_factor && (flow_.value(v.in[0]).rounded || flow_.value(v.in[1]).rounded); }

  bool is_inside(const Visit& at, const Value& v) const {
    if (v.links > 0 || v.residue || reduces(v)) return true;
    if (at.role == kToRound) return v.constant_factor;
    return at.role == kSummand && v.constant_factor && v.origin == at.origin && at.id != at.origin;
  }

  void explore(const Visit& at) {
    const Value& v = flow_.value(at.id);
    if (v.constant) return;
    bool on = false;
    switch (v.kind) {
      case OpKind::fma:
        on = is_inside(at, v);
        inside_[at.id] |= on;
        break;
      case OpKind::multiply:
      case OpKind::add:
      case OpKind::select:
      case OpKind::bits: on = v.origin == at.origin || v.rounded; break;
      case OpKind::round: on = true; break;
      case OpKind::stop: on = v.origin == at.origin; break;  // a polynomial in 1 / (1 + c*x)
      default: break;
    }
    if (!on) return;
    const bool to_round = at.role == kToRound || v.kind == OpKind::round;
    for (int k = 0; k < 3; ++k) {
      const bool summand = v.kind == OpKind::add || (v.kind == OpKind::fma && k == 2) || (v.kind == OpKind::select && at.role == kSummand);
      visit(v.in[k], at.origin, to_round ? kToRound : summand ? kSummand : kStep);
    }
  }

  bool continues(ValueId id) const {
    const Value& v = flow_.value(id);
    const bool passes = v.kind == OpKind::fma || v.kind == OpKind::multiply || v.kind == OpKind::add || v.kind == OpKind::select;
    if (!passes || v.constant || v.origin == id) return false;
    bool any = false;
    for (const ValueId in : v.in) {
      if (v.kind == OpKind::multiply && flow_.value(in).kind == OpKind::bits) return false;
      any |= after_[in] && flow_.value(in).origin == v.origin;
    }
    return any;
  }

  /// 1 - p*e, with an e from elsewhere (a call): the last step of erf.
  bool last_step(ValueId id) const {
    const Value& v = flow_.value(id);
    return v.constant_addend && (after_[v.in[0]] || after_[v.in[1]]);
  }

  const ValueFlow& flow_;
  std::vector<std::uint8_t> seen_, inside_, after_;
  std::vector<Visit> pending_;
};

}  // namespace

std::vector<Address> polynomial_sites(const CodeView& code, const Discovery& found, const ConstantMemory& constants, bool fp64) {
  std::vector<Address> out;
  const auto count = [&](bool fp64_sites) {
    return std::count_if(found.sites.begin(), found.sites.end(), [=](const Site& s) { return s.fp64 == fp64_sites && s.bf16 == Bf16::none; });
  };
  const bool mark32 = count(false) >= 2, mark64 = fp64 && count(true) >= 2;
  if (!found.constants || (!mark32 && !mark64)) return out;  // without constants there is no polynomial: most kernels
  const std::vector<Op> ops = ops_of(code, found);
  ValueFlow flow(code, constants);
  flow.run(ops);
  Marker marker(flow);
  marker.back();
  marker.forward();
  ValueId id = ValueFlow::kFirst;
  for (const Op& op : ops) {
    if (op.kind == OpKind::fma && (op.fp32 ? mark32 : mark64) && marker.marked(id)) out.push_back(op.at);
    id += ValueFlow::values_of(op);
  }
  return out;
}

}  // namespace fase::core
