// Values and where they come from: one forward data-flow pass over a function, in code order, run twice so that what loops carry around is seen.
#pragma once
#include <memory>
#include <vector>

#include "core/scope/op.h"
#include "core/scope/scope.h"

namespace fase::core {

using ValueId = std::uint32_t;
inline constexpr ValueId kUnknown = 0;

/// What is known of the contents of a vector register. 20 bytes: a kernel's function can have 50,000 of them.
struct Value {
  OpKind kind = OpKind::other;
  bool constant : 1 = false;
  bool zero : 1 = false;             // constant: all bits clear
  bool scaled : 1 = false;           // a variable times a constant
  bool rounded : 1 = false;          // an integer in floating point, or about to become one
  bool constant_factor : 1 = false;  // fma
  bool constant_addend : 1 = false;  // fma, add
  bool residue : 1 = false;          // the rounding error of a product, x*y - (x*y), or computed with one: more precision than the format has
  bool weak : 1 = false;             // the chain of links starts without a constant factor: y*y + c
  std::uint8_t generation = 0;       // divisions and roots on the way from the origin
  std::uint8_t links = 0;            // steps with a constant addend on the longest chain of multiply-adds that leads here: the degree of a polynomial
  /// The one variable this was computed from, constants aside: a function of one argument has the same origin
  /// throughout.
  ValueId origin = kUnknown;
  ValueId in[3] = {kUnknown, kUnknown, kUnknown};
};
static_assert(sizeof(Value) == 20);

/// What is known of a general register.
struct Word {
  enum Kind : std::uint8_t { unknown, constant, frame } kind = unknown;
  std::uint32_t id = 0;    // frame: which
  std::int64_t value = 0;  // constant, or offset in the frame
  bool operator==(const Word&) const = default;
};

/// Something spilled on the stack.
struct Slot {
  std::uint32_t frame = 0;
  std::int32_t offset = 0;
  std::uint32_t bytes = 0;
  ValueId vector = kUnknown;
  Word word;
  bool operator<(const Slot& o) const { return frame != o.frame ? frame < o.frame : offset < o.offset; }
};

/// All that is spilled, ascending. States that have the same share it: a function can have hundreds of targets.
class Slots {
 public:
  const std::vector<Slot>& all() const {
    static const std::vector<Slot> none;
    return shared_ ? *shared_ : none;
  }
  /// To be changed.
  std::vector<Slot>& own() {
    if (!shared_ || shared_.use_count() > 1) shared_ = std::make_shared<std::vector<Slot>>(all());
    return *shared_;
  }

 private:
  std::shared_ptr<std::vector<Slot>> shared_;
};

struct State {
  ValueId vectors[32] = {};
  Word words[16] = {};
  Slots slots;
};

/// Constant-fed steps that make a polynomial. One is alpha*x + beta; two in a row on one variable are no arithmetic of a model. One more where
/// the chain starts with a product of variables, as Newton's iteration for a root does.
constexpr bool is_polynomial(const Value& v) { return v.links >= (v.weak ? 3 : 2); }

/// Runs over the ops of a function and says what each of them makes.
class ValueFlow {
 public:
  ValueFlow(const CodeView& code, const ConstantMemory& constants) : code_(code), constants_(constants) {}

  /// `ops` ascending, without gaps but where code has them.
  void run(const std::vector<Op>& ops);

  /// Values that an op makes: its own and, with the next number, that of its memory operand. The first op's is number kFirst.
  static unsigned values_of(const Op& op);
  static constexpr ValueId kFirst = 33;  // 0: unknown; 1-32: registers on entry
  const Value& value(ValueId id) const { return values_[id]; }
  std::size_t size() const { return values_.size(); }

 private:
  /// A place that control reaches by a branch, and what holds there whichever way it came.
  struct Target {
    Address at = 0;
    bool reached = false;
    State state;
    std::vector<ValueId> phis;  // by register; empty until the first is needed
  };

  /// What to do with code that nothing known leads to (cases of a switch, landing pads): leave it for a later pass, or assume that it follows
  /// an indirect jump, or the function's entry.
  enum class Unreached { skipped, assumed };

  void find_targets(const std::vector<Op>& ops);
  Target* target_at(Address a);
  void arrive(Target& t, const State& from);
  void merge_slots(Slots& into, const Slots& from) const;
  ValueId merged(Target& t, unsigned reg, ValueId a, ValueId b);
  bool enter(const Op& op, bool flows, Unreached unreached);
  std::size_t pass(const std::vector<Op>& ops, Unreached unreached);
  void step(const Op& op, ValueId id);

  // Vector registers.
  void compute(const Op& op, ValueId id);
  ValueId source(const Op& op, std::uint8_t in, ValueId id);
  ValueId memory_value(const Op& op, ValueId own);
  void set_fma(Value& v, const Value& x, const Value& y, const Value& c) const;
  void set_sum(Value& v, const Value& x, const Value& y) const;
  bool same_origin(const Value& a, const Value& b) const;
  ValueId common_origin(const Value& a, const Value& b, ValueId own) const;

  // General registers and the stack.
  void set_word(const Op& op);
  void call(ValueId id);
  void stack(const Op& op);
  Word address(const Op& op) const;
  Word loaded(const Word& at) const;
  const Slot* slot(const Word& at) const;
  void put(const Word& at, std::uint32_t bytes, ValueId vector, const Word& word);

  const CodeView& code_;
  const ConstantMemory& constants_;
  std::vector<Value> values_;
  std::vector<Target> targets_;  // ascending
  State now_;
  Target indirect_;  // what indirect jumps carry to who knows where
};

}  // namespace fase::core
