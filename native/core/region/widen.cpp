#include "core/region/widen.h"

#include <bit>

#include "core/assemble/assembler.h"

namespace fase::core {
namespace {

constexpr std::size_t kReach = 24;  // steps between the halves of a pair
constexpr std::uint16_t kNone = 0xffff;

bool same_address(const MemoryOperand& x, const MemoryOperand& y, std::int64_t distance) {
  return x.base == y.base && x.index == y.index && x.scale == y.scale && x.segment == y.segment && y.disp - x.disp == distance;
}

/// Can be encoded again with another vector length.
bool plain_memory(const Insn& k) { return !k.rip_relative() && !k.memory.vector_index && !k.memory.address32; }

bool touches(const Insn& k, std::uint32_t registers) { return ((k.reads.vectors | k.writes.vectors) & registers) != 0; }

/// Leaves zeros above bit 255 of the registers it writes, and reads none of those bits.
bool narrow(const Insn& k) {
  if ((k.encoding != Encoding::vex && k.encoding != Encoding::evex) || k.vector_bits > 256) return false;
  for (int o = 0; o < k.operand_count; ++o)
    if (k.operands[o].kind == OperandKind::vector && k.operands[o].bits > 256) return false;
  return true;
}

bool candidate(const Step& s) {
  const Insn& k = s.insn;
  if (!s.emulated() || k.fma.scalar || k.vector_bits != 256 || k.mask != 0 || k.broadcast || k.embedded_rounding) return false;
  return k.operands[2].kind == OperandKind::vector || plain_memory(k);
}

bool plain_load(const Step& s) {
  const Insn& k = s.insn;
  if (s.kind != StepKind::copy || k.mask != 0 || !narrow(k) || k.vector_bits != 256 || !plain_memory(k)) return false;
  if (k.operand_count != 2 || k.operands[0].kind != OperandKind::vector || k.operands[1].kind != OperandKind::memory) return false;
  switch (k.mnemonic) {
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVUPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVUPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVDQU:
    case ZYDIS_MNEMONIC_VMOVDQU32:
    case ZYDIS_MNEMONIC_VMOVDQU64: return true;
    default: return false;
  }
}

unsigned address_registers(const MemoryOperand& m) { return (m.base < 16 ? 1u << m.base : 0) | (m.index < 16 ? 1u << m.index : 0); }

/// Two FMAs that become one. It stands where the first of them stood.
struct Pair {
  std::uint16_t first, second, lower, upper;
};

/// Which FMAs belong together, and what that makes of the registers.
class Pairing {
 public:
  explicit Pairing(const Trace& trace) : steps_(trace.steps), mate_(steps_.size(), kNone), layout_(trace.layout) {
    for (std::size_t i = 0; i < steps_.size(); ++i)
      if (mate_[i] == kNone && candidate(steps_[i])) find_mate(i);
  }

  const std::vector<Pair>& pairs() const { return pairs_; }
  const Layout& layout() const { return layout_; }
  std::uint32_t highs() const { return highs_; }

 private:
  void find_mate(std::size_t i) {
    for (std::size_t j = i + 1; j < steps_.size() && j <= i + kReach; ++j) {
      if (steps_[j].kind == StepKind::exit) return;
      if (mate_[j] != kNone || !candidate(steps_[j]) || !alike(steps_[i].insn, steps_[j].insn) || !can_move_up(j, i)) continue;
      if (relate(i, j)) return add({index(i), index(j), index(i), index(j)});
      if (relate(j, i)) return add({index(i), index(j), index(j), index(i)});
    }
  }

  static std::uint16_t index(std::size_t i) { return static_cast<std::uint16_t>(i); }

  void add(const Pair& p) {
    pairs_.push_back(p);
    mate_[p.first] = p.second;
    mate_[p.second] = p.first;
  }

  static bool alike(const Insn& x, const Insn& y) {
    return x.bytes[x.modrm_offset - 1] == y.bytes[y.modrm_offset - 1] && x.operands[0].index != y.operands[0].index &&
           x.operands[2].kind == y.operands[2].kind;
  }

  /// Between the two nothing may fault, change what the second reads, or see what it writes. Second halves of earlier pairs have gone already.
  bool can_move_up(std::size_t j, std::size_t to) const {
    const Insn& moved = steps_[j].insn;
    for (std::size_t m = to + 1; m < j; ++m) {
      const Insn& k = steps_[m].insn;
      if (mate_[m] != kNone && mate_[m] < to) continue;
      if (k.memory.reads || k.memory.writes || k.reads_memory || k.writes_memory) return false;
      if (k.writes.vectors & (moved.reads.vectors | moved.writes.vectors)) return false;
      if (k.reads.vectors & moved.writes.vectors) return false;
      if (moved.memory.present && (k.writes.gprs & address_registers(moved.memory))) return false;
    }
    return !(steps_[to].insn.writes.vectors & (moved.reads.vectors | moved.writes.vectors)) &&
           !(steps_[to].insn.reads.vectors & moved.writes.vectors);
  }

  /// Adds what the pair means for the registers, if that goes with what is known.
  bool relate(std::size_t lower, std::size_t upper) {
    const Insn &x = steps_[lower].insn, &y = steps_[upper].insn;
    const Layout layout = layout_;
    const std::uint32_t highs = highs_;
    bool good = true;
    for (int o = 0; good && o < 3; ++o)
      good = x.operands[o].kind == OperandKind::memory ? same_address(x.memory, y.memory, 32)
                                                       : relate_registers(x.operands[o].index, y.operands[o].index);
    if (!good) layout_ = layout, highs_ = highs;
    return good;
  }

  bool relate_registers(unsigned lower, unsigned upper) {
    const auto has = [](std::uint32_t set, unsigned r) { return (set >> r & 1) != 0; };
    if (lower == upper) {
      if (has(layout_.pairs | highs_, lower)) return false;
      layout_.splats |= 1u << lower;
      return true;
    }
    if (has(layout_.pairs, lower)) return layout_.high[lower] == upper;
    if (has(highs_ | layout_.splats, lower) || has(layout_.pairs | highs_ | layout_.splats, upper)) return false;
    layout_.pairs |= 1u << lower;
    layout_.high[lower] = static_cast<std::uint8_t>(upper);
    highs_ |= 1u << upper;
    return true;
  }

  const std::vector<Step>& steps_;
  std::vector<std::uint16_t> mate_;
  std::vector<Pair> pairs_;
  Layout layout_;
  std::uint32_t highs_ = 0;
};

/// Writes the widened loop. Of each pair it knows where the upper value is: in the upper half, in its own register, or in both.
class Rewriter {
 public:
  Rewriter(const Trace& trace, const Pairing& pairing)
      : steps_(trace.steps), pairs_(pairing.pairs()), layout_(pairing.layout()), highs_(pairing.highs()), role_(steps_.size(), kNone) {
    for (std::size_t p = 0; p < pairs_.size(); ++p) role_[pairs_[p].first] = role_[pairs_[p].second] = static_cast<std::uint16_t>(p);
    in_upper_ = layout_.pairs;
    fresh_ = layout_.splats;
  }

  /// False: something touches the registers in a way that halves cannot follow.
  bool run() {
    for (at_ = 0; at_ < steps_.size() && !failed_; ++at_) step();
    if (failed_ || steps_.empty()) return false;
    at_ = steps_.size() - 1;
    for_each(layout_.pairs, [this](unsigned lower) { need_upper(lower); });
    for_each(layout_.splats & ~fresh_, [this](unsigned r) { spread(r); });
    return !failed_;
  }

  std::size_t moves() const { return moves_; }
  std::vector<Step> take() { return std::move(out_); }

 private:
  template <class Call>
  static void for_each(std::uint32_t set, Call call) {
    for (; set != 0; set &= set - 1) call(static_cast<unsigned>(std::countr_zero(set)));
  }
  unsigned high(unsigned lower) const { return layout_.high[lower]; }
  void fail() { failed_ = true; }

  void step() {
    const Step& s = steps_[at_];
    if (gone(at_)) return;
    if (role_[at_] != kNone) return wide_fma(pairs_[role_[at_]]);
    if (s.kind == StepKind::exit) {
      if (layout_.pairs & ~in_upper_ & ~in_own_) return fail();
      return push(s);
    }
    if (!touches(s.insn, layout_.wide() | highs_)) return push(s);
    if (!narrow(s.insn)) return fail();
    if (!wide_load() && !load_upper() && !wide_broadcast()) on_own_registers();
  }

  bool gone(std::size_t i) const {
    if (i < removed_.size() && removed_[i]) return true;
    return role_[i] != kNone && pairs_[role_[i]].second == i;
  }

  void push(Step s) {
    s.upper = in_upper_ & ~in_own_;
    out_.push_back(s);
  }

  /// Appends an instruction of our own in the place of the current one.
  Step encoded(const VectorOp& op, unsigned reg, unsigned vvvv, const Rm& rm, std::int16_t imm = -1) {
    std::uint8_t bytes[32];
    Step s = steps_[at_];
    Assembler a(bytes, s.insn.address);
    a.vector(op, 512, static_cast<int>(reg), static_cast<int>(vvvv), rm, {0, false, imm, -1});
    if (a.unreachable() || !decode(bytes, a.offset(), s.insn.address, s.insn)) fail();
    return s;
  }

  Step move(const VectorOp& op, unsigned reg, unsigned vvvv, const Rm& rm) {
    Step s = encoded(op, reg, vvvv, rm, 1);
    s.kind = StepKind::copy;
    return s;
  }

  void need_upper(unsigned lower) {
    if (in_upper_ >> lower & 1) return;
    if (!(in_own_ >> lower & 1)) return fail();
    push(move(op::vinsertf32x8, lower, lower, static_cast<int>(high(lower))));
    in_upper_ |= 1u << lower;
    ++moves_;
  }

  void need_own(unsigned lower) {
    if (in_own_ >> lower & 1) return;
    if (!(in_upper_ >> lower & 1)) return fail();
    push(move(op::vextractf32x8, lower, 0, static_cast<int>(high(lower))));
    in_own_ |= 1u << lower;
    ++moves_;
  }

  void spread(unsigned r) {
    push(move(op::vinsertf32x8, r, r, static_cast<int>(r)));
    fresh_ |= 1u << r;
    ++moves_;
  }

  void wide_fma(const Pair& p) {
    const Insn k = steps_[p.lower].insn;
    for (int o = 0; o < 3; ++o) {
      if (k.operands[o].kind != OperandKind::vector) continue;
      const unsigned r = k.operands[o].index;
      if (layout_.pairs >> r & 1) need_upper(r);
      else if (!(fresh_ >> r & 1)) spread(r);
    }
    const VectorOp op{2, 1, k.bytes[k.modrm_offset - 1]};
    const Rm last = k.operands[2].kind == OperandKind::memory ? Rm(Mem::of(k.memory)) : Rm(k.operands[2].index);
    Step s = encoded(op, k.operands[0].index, k.operands[1].index, last);
    s.fmas = 2;
    push(s);
    in_own_ &= ~(1u << k.operands[0].index);
  }

  /// Two loads side by side.
  bool wide_load() {
    const Step& s = steps_[at_];
    const unsigned lower = s.insn.operands[0].index;
    if (!plain_load(s) || !(layout_.pairs >> lower & 1)) return false;
    const std::uint32_t upper = 1u << high(lower);
    for (std::size_t n = at_ + 1; n < steps_.size(); ++n) {
      const Step& other = steps_[n];
      if (other.kind == StepKind::exit || other.insn.writes_memory) return false;
      if (touches(other.insn, upper)) {
        if (!plain_load(other) || !same_address(s.insn.memory, other.insn.memory, 32)) return false;
        push(encoded(op::vmovups_load, lower, 0, Mem::of(s.insn.memory)));
        removed_.resize(steps_.size(), false);
        removed_[n] = true;
        in_upper_ |= 1u << lower;
        in_own_ &= ~(1u << lower);
        return true;
      }
      if (touches(other.insn, 1u << lower) || (other.insn.writes.gprs & address_registers(s.insn.memory))) return false;
    }
    return false;
  }

  /// A load of an upper value that the next reader wants in the upper half.
  bool load_upper() {
    const Step& s = steps_[at_];
    const unsigned r = s.insn.operands[0].index;
    if (!plain_load(s) || !(highs_ >> r & 1)) return false;
    unsigned lower = 0;
    for_each(layout_.pairs, [&](unsigned l) { lower = high(l) == r ? l : lower; });
    for (std::size_t n = at_ + 1; n < steps_.size(); ++n) {
      if (!touches(steps_[n].insn, 1u << lower | 1u << r)) continue;
      if (role_[n] == kNone) return false;
      break;
    }
    push(encoded(op::vinsertf32x8, lower, lower, Mem::of(s.insn.memory), 1));
    in_upper_ |= 1u << lower;
    in_own_ &= ~(1u << lower);
    return true;
  }

  bool wide_broadcast() {
    const Step& s = steps_[at_];
    const Insn& k = s.insn;
    if (s.kind != StepKind::copy || k.mask != 0 || !plain_memory(k) || k.operand_count != 2 || !(layout_.splats >> k.operands[0].index & 1))
      return false;
    VectorOp op;
    switch (k.mnemonic) {
      case ZYDIS_MNEMONIC_VBROADCASTSS: op = op::vbroadcastss; break;
      case ZYDIS_MNEMONIC_VBROADCASTSD: op = op::vbroadcast64; break;
      case ZYDIS_MNEMONIC_VBROADCASTF128: op = {2, 1, 0x1a, true, Tuple::four}; break;  // as vbroadcastf32x4
      default: return false;
    }
    const bool memory = k.operands[1].kind == OperandKind::memory;
    push(encoded(op, k.operands[0].index, 0, memory ? Rm(Mem::of(k.memory)) : Rm(k.operands[1].index)));
    fresh_ |= 1u << k.operands[0].index;
    return true;
  }

  /// As the program has it.
  void on_own_registers() {
    const Step& s = steps_[at_];
    const std::uint32_t needs = s.insn.reads.vectors | (s.insn.writes.vectors & ~s.insn.kills.vectors);
    for_each(layout_.pairs, [&](unsigned lower) {
      const bool overwritten = s.insn.writes.vectors >> lower & 1;
      if (needs >> high(lower) & 1 || (overwritten && !replaced_next(high(lower)))) need_own(lower);
    });
    push(s);
    for_each(layout_.pairs, [&](unsigned lower) {
      if (s.insn.writes.vectors >> high(lower) & 1) in_own_ |= 1u << lower, in_upper_ &= ~(1u << lower);
      if (s.insn.writes.vectors >> lower & 1) in_upper_ &= ~(1u << lower);
    });
    fresh_ &= ~s.insn.writes.vectors;
  }

  /// Nobody sees the value of `r` any more: the current step or one soon after replaces it.
  bool replaced_next(unsigned r) const {
    const std::uint32_t bit = 1u << r;
    for (std::size_t n = at_; n < steps_.size(); ++n) {
      const Insn& k = steps_[n].insn;
      if (steps_[n].kind == StepKind::exit || (n != at_ && role_[n] != kNone)) return false;
      if (k.reads.vectors & bit) return false;
      if (k.kills.vectors & bit) return true;
    }
    return false;
  }

  const std::vector<Step>& steps_;
  const std::vector<Pair>& pairs_;
  const Layout& layout_;
  std::uint32_t highs_;
  std::vector<std::uint16_t> role_;  // index of the pair
  std::vector<bool> removed_;
  std::vector<Step> out_;
  std::size_t at_ = 0;
  std::size_t moves_ = 0;
  std::uint32_t in_upper_ = 0, in_own_ = 0;  // pairs, by their lower register
  std::uint32_t fresh_ = 0;                  // splats whose halves are equal
  bool failed_ = false;
};

/// Where control can first leave, the program's registers must have zeros above bit 255, as our exits leave them.
bool cleared_before_exit(const Trace& trace, std::uint32_t registers) {
  for (const Step& s : trace.steps) {
    if (s.kind == StepKind::exit) break;
    if (narrow(s.insn)) registers &= ~s.insn.writes.vectors;
  }
  return registers == 0;
}

}  // namespace

bool widen(Trace& trace) {
  const Pairing pairing(trace);
  if (pairing.pairs().empty() || !cleared_before_exit(trace, pairing.layout().wide() | pairing.highs())) return false;
  Rewriter rewriter(trace, pairing);
  if (!rewriter.run() || rewriter.moves() >= pairing.pairs().size()) return false;
  trace.steps = rewriter.take();
  trace.layout = pairing.layout();
  return true;
}

}  // namespace fase::core
