// One FMA under the operator: sources rounded (or known, cached, rounded in place), operand 0 rounded, the instruction itself, the result rounded.
#include <algorithm>

#include "core/emit/emitter.h"

namespace fase::core {
namespace {

constexpr std::int16_t kUnordered = 3;  // vcmpps: either is a NaN

unsigned width(const Insn& insn) { return insn.fma.scalar ? 128 : insn.vector_bits; }
bool merges(const Insn& insn) { return insn.mask != 0 && !insn.zeroing; }

VectorOp fma_op(const Insn& insn) {
  const Tuple tuple = !insn.fma.scalar ? Tuple::full : insn.fma.fp64 ? Tuple::two : Tuple::scalar;
  return {2, 1, insn.bytes[insn.modrm_offset - 1], false, tuple, insn.fma.fp64 ? Wide::both : Wide::no};
}

/// The L'L field of an EVEX instruction with embedded rounding.
std::int8_t rounding_control(const Insn& insn) {
  return insn.embedded_rounding ? static_cast<std::int8_t>(insn.bytes[insn.modrm_offset - 2] >> 5 & 3) : std::int8_t{-1};
}

/// The instruction whose addend has the other sign, in the form 132 or as it is.
VectorOp with_other_addend(const Insn& insn, bool form132) {
  VectorOp out = fma_op(insn);
  const unsigned kind = out.opcode & 15u;
  out.opcode = static_cast<std::uint8_t>((form132 ? 0x90u : out.opcode & 0xf0u) | (kind < 8 ? kind ^ 1u : kind ^ 2u));
  return out;
}

}  // namespace

bool Emitter::known(int r, const Format& f, bool scalar) const {
  if (f.is_fp32()) return true;
  return passes(kKnownGrid) && within(scalar ? state_.grid[r].low : state_.grid[r].all(), f);
}

void Emitter::round(int dst, int src, const Format& f, unsigned bits, bool nan_fix, unsigned mask, Bounds bounds) {
  const int random = f.is_stochastic() ? draw(operand_, bits) : -1;
  Rounder rounder{isa_, f, nan_fix, bounds, random};
  int temporary[4] = {};
  int n = rounder.temporaries(dst == src);
  if (n == 0 && tests_nans(rounder) && wants_temporary()) n = 1;
  for (int i = 0; i < n; ++i) temporary[i] = acquire_temporary();
  if (f.lookup != nullptr) borrow_for_table(rounder, mask);
  const RoundingCode rounding{rounder, bits, mask, dst, src, n > 0 ? temporary[0] : -1, rounded_};
  if (tests_nans(rounder)) round_unless_nan(&rounding, 1);
  else if (bounded_) fail();  // nobody has tested it
  else rounder.emit(asm_, *this, bits, dst, src, temporary, mask);
  if (f.lookup != nullptr) return_from_table(rounder);
  for (int i = 0; i < n; ++i) release_temporary(temporary[i]);
  if (random >= 0) release_temporary(random);
}

/// The opmasks are all the guest's: one that this instruction does not use.
void Emitter::borrow_for_table(Rounder& rounder, unsigned mask) {
  rounder.gpr = borrow_gpr();
  if (isa_ != Isa::avx512) return;
  rounder.opmask = mask == 1 ? 2 : 1;
  asm_.store_opmask(Mem::fs(request_.scratch.words + 8 * kOpmaskWord), rounder.opmask);
}

void Emitter::return_from_table(const Rounder& rounder) {
  if (isa_ == Isa::avx512) asm_.load_opmask(rounder.opmask, Mem::fs(request_.scratch.words + 8 * kOpmaskWord));
  return_gpr(rounder.gpr);
}

int Emitter::find_copy(int r, const Format& f, unsigned bits) const {
  for (std::uint32_t m = state_.displaced; m; m &= m - 1) {
    const int p = std::countr_zero(m);
    const Holder& h = state_.holder[p];
    if (h.content == Content::copy && h.of == r && h.format == f && h.bits >= bits) return p;
  }
  return -1;
}

/// How register r, a source at `step`, is rounded: where it is, as wide as its readers want, or into a register of ours.
Factor Emitter::factor(int r, std::size_t step, const Format& f, unsigned bits) {
  const InPlace place = passes(kRoundInPlace) ? ahead_.source(r, step, f, bits) : InPlace{};
  const bool cheap_copy = has_spare() && !(trace_.loop && analysis_.invariant(r));  // those are rounded once, before the loop
  const bool room = (state_.in_place >> r & 1) || home_[r] >= 0 || homes_ < home_limit_;
  if (!place.possible || (place.save && (cheap_copy || !room))) return {acquire(true), r, f, bits};
  if (place.save && !(state_.in_place >> r & 1)) {
    if (!save(r)) fail();
    state_.displaced &= ~(1u << r);
    state_.in_place |= 1u << r;
    remark();
  }
  return {r, r, f, place.bits};
}

void Emitter::note_rounded(const Factor& x) {
  if (x.dst == x.src) state_.grid[x.src] = Grid::whole(x.format);
  else if (passes(kReuseCopies))
    state_.holder[x.dst] = Holder{Content::copy, static_cast<std::uint8_t>(x.src), x.format, static_cast<std::uint16_t>(x.bits), 0, 0};
}

/// Number of the register that holds round(r, f).
int Emitter::rounded_register(int r, const Format& f, unsigned bits, bool scalar) {
  const bool home = !(state_.displaced >> r & 1);
  if (home && known(r, f, scalar)) return r;
  if (f.is_stochastic()) {  // never the same twice
    const int p = acquire_temporary();
    round(p, r, f, bits, true);
    return p;
  }
  if (const int p = find_copy(r, f, bits); p >= 0) {
    busy_ |= 1u << p;
    return p;
  }
  const Factor x = factor(r, step_, f, bits);
  round_factor(x);
  note_rounded(x);
  return x.dst;
}

void Emitter::load_operand(const Insn& insn, int into) {
  const Rm mem{Mem::of(insn.memory)};
  const Mods mods{insn.mask, insn.mask != 0, -1, -1};
  const VectorOp& load = insn.fma.scalar ? op::vmovss : insn.broadcast ? op::vbroadcastss : op::vmovups_load;
  asm_.vector(load, width(insn), into, 0, mem, mods);
}

/// Groups that are due before the current step.
void Emitter::load_groups() {
  while (const BroadcastGroup* g = due_group()) {
    ++next_group_;
    const int t = load_group(*g);
    const BroadcastGroup* other = due_group();
    if (g->format.literals > 1) {
      store_literals(*g, t);
      release_temporary(t);
    } else if (other != nullptr && other->format.literals == 1 && pairs_nans(g->format) && pairs_nans(other->format) && has_spare()) {
      ++next_group_;
      const int u = load_group(*other);
      round_two({t, t, g->format, g->bits}, {u, u, other->format, other->bits});
      store_group(*g, t);
      store_group(*other, u);
    } else {
      round_factor({t, t, g->format, g->bits});
      store_group(*g, t);
    }
  }
}

const BroadcastGroup* Emitter::due_group() const {
  return next_group_ < memory_.groups.size() && memory_.groups[next_group_].begin == step_ ? &memory_.groups[next_group_] : nullptr;
}

int Emitter::load_group(const BroadcastGroup& g) {
  const int t = acquire_temporary();
  mark(trace_.steps[step_].insn.address);
  asm_.vector(op::vmovups_load, g.bits, t, 0, g.first);
  return t;
}

void Emitter::store_group(const BroadcastGroup& g, int rounded) {
  asm_.vector(op::vmovups_store, g.bits, rounded, 0, Mem::fs(g.scratch));
  release_temporary(rounded);
}

Rm Emitter::memory_source(const Step& step, const Format& f) {
  const std::uint16_t group = memory_.group[step_];
  if (group != kNever) {
    return {Mem::fs(memory_.groups[group].scratch + 4 * memory_.element[step_]), true};
  }
  const std::uint16_t again = memory_.next_same[step_];
  for (std::uint32_t m = state_.displaced; m; m &= m - 1) {
    const int p = std::countr_zero(m);
    Holder& h = state_.holder[p];
    if (h.content != Content::memory || h.next_use != step_) continue;
    busy_ |= 1u << p;
    h.next_use = again;
    if (again == kNever) h = Holder{Content::free, 0, {}, 0, 0, 0};
    return p;
  }
  const int p = acquire(again != kNever);
  mark(step.insn.address);
  load_operand(step.insn, p);
  if (!f.is_fp32()) round_factor({p, p, f, width(step.insn)});
  if (again != kNever) state_.holder[p] = Holder{Content::memory, 0, f, static_cast<std::uint16_t>(width(step.insn)), again, 0};
  return p;
}

/// Rounds the lanes of register operand 0 that the instruction uses or has written.
void Emitter::round_destination(const Insn& insn, const Format& f, bool nan_fix, Bounds bounds) {
  const int r = insn.operands[0].index;
  const unsigned mask = merges(insn) ? insn.mask : 0;
  if (!insn.fma.scalar) return round(r, r, f, width(insn), nan_fix, mask, bounds);
  if (within(state_.grid[r].rest, f) && passes(kKnownGrid)) return round(r, r, f, 128, nan_fix, mask, bounds);
  const int t = acquire_temporary();
  round(t, r, f, 128, nan_fix, 0, bounds);
  asm_.vector(op::vmovss, 128, r, r, t, {static_cast<std::uint8_t>(mask), false, -1, -1});
  release_temporary(t);
}

/// Operand 0, whose first access in a loop this may be, is rounded here: it could be rounded once before the loop.
void Emitter::note_first_rounding(const Step& step, const Format& f) {
  const Insn& k = step.insn;
  const int r = k.operands[0].index;
  if (known(r, f, k.fma.scalar)) return;
  const Touch& first = analysis_.touches[r].front();
  bool only_so = !merges(k);  // the register is read in no other way
  for (int o = 1; o < 3; ++o) only_so &= k.operands[o].kind != OperandKind::vector || k.operands[o].index != r;
  if (first.step == step_ && analysis_.exits[step_] == 0 && only_so && !f.is_stochastic())
    first_[r] = {true, k.fma.scalar, f, static_cast<std::uint16_t>(width(k))};
}

void Emitter::round_operand_zero(const Step& step, const Format& f) {
  if (known(step.insn.operands[0].index, f, step.insn.fma.scalar)) return;
  note_first_rounding(step, f);
  rounded_ = Rounded::addend;
  round_destination(step.insn, f, true);
  rounded_ = Rounded::factor;
}

void Emitter::emit_fma(const Insn& insn, const Rm& src1, const Rm& src2) {
  const Mods mods{insn.mask, insn.zeroing, -1, rounding_control(insn)};
  asm_.vector(fma_op(insn), width(insn), insn.operands[0].index, src1.reg, src2, mods);
}

/// The sum rounded to binary32, to odd (Boldo & Melquiond, IEEE TC 57(4), 2008): of the results toward -inf and +inf the odd one, where they differ.
/// {er} makes it 512 bits wide; lanes above the instruction's are cleared by the last step.
void Emitter::emit_exact_fma(const Insn& insn, const Rm& src1, const Rm& src2) {
  const int r0 = insn.operands[0].index;
  const unsigned bits = insn.fma.scalar ? 128 : 512;
  const auto mask = static_cast<std::uint8_t>(insn.mask);
  const int up = acquire_temporary(), odd = acquire_temporary();
  asm_.vector(op::vmovups_load, bits, up, 0, r0);
  asm_.vector(fma_op(insn), bits, up, src1.reg, src2, {0, false, -1, kUp});
  asm_.vector(fma_op(insn), bits, r0, src1.reg, src2, {mask, insn.zeroing, -1, kDown});
  asm_.vector(op::vpsrld_imm, bits, 6, odd, r0, {0, false, 31, -1});  // vpslld
  asm_.vector(op::vpsrld_imm, bits, 4, odd, odd, {0, false, 31, -1});
  asm_.vector(op::vpternlogd, width(insn), r0, odd, up, {mask, false, 0xe2, -1});  // odd ? r0 : up
  release_temporary(up);
  release_temporary(odd);
}

/// The same with AVX2, rounding toward -inf: the result toward +inf is that of -a*b - c, negated. A NaN is taken from the first of the two.
void Emitter::emit_exact_fma2(const Insn& insn, const Rm& src1, const Rm& src2) {
  const int r0 = insn.operands[0].index;
  const unsigned bits = width(insn);
  const bool addend_first = insn.fma.form == 2;
  const int up = acquire_temporary(), odd = acquire_temporary(), nan = acquire_temporary();
  open_mxcsr(kMxcsrDown);
  asm_.vector(op::vpxor, bits, up, addend_first ? src1.reg : r0, constant(kSignBit));
  asm_.vector(with_other_addend(insn, addend_first), bits, up, addend_first ? r0 : src1.reg, src2);
  asm_.vector(fma_op(insn), bits, r0, src1.reg, src2);
  asm_.vector(op::vcmpps, bits, nan, r0, r0, {0, false, kUnordered, -1});
  close_mxcsr();
  asm_.vector(op::vpxor, bits, up, up, constant(kSignBit));
  asm_.vector(op::vpsrld_imm, bits, 6, odd, r0, {0, false, 31, -1});  // vpslld
  asm_.vector(op::vpor, bits, odd, odd, nan);
  const Mods by_odd{0, false, static_cast<std::int16_t>(odd << 4), -1};
  if (insn.fma.scalar) {
    asm_.vector(op::vblendvps, bits, up, up, r0, by_odd);
    asm_.vector(op::vmovss, bits, r0, r0, up);
  } else {
    asm_.vector(op::vblendvps, bits, r0, up, r0, by_odd);
  }
  for (const int r : {up, odd, nan}) release_temporary(r);
}

/// {er}, and a stretch under another MXCSR, want their operands in registers.
Rm Emitter::in_register(const Insn& insn, const Rm& source) {
  if (!source.memory) return source;
  const int t = acquire_temporary();
  mark(insn.address);
  const VectorOp& load = insn.fma.scalar ? op::vmovss : source.broadcast ? op::vbroadcastss : op::vmovups_load;
  asm_.vector(load, width(insn), t, 0, source.mem, {insn.mask, insn.mask != 0, -1, -1});
  return t;
}

void Emitter::set_result_grid(const Insn& insn, const Format& d) {
  forget_grid64(1u << insn.operands[0].index);
  Grid& g = state_.grid[insn.operands[0].index];
  const Format& result = d.is_fp32() ? kAnyValue : d;
  const Format low = merges(insn) ? join(g.low, result) : result;
  if (insn.fma.scalar) g.low = low;
  else g = merges(insn) ? Grid{low, join(g.rest, result)} : Grid::whole(result);
}

/// Where operand 1 or 2 is read from, rounded as its role wants.
Rm Emitter::source(const Step& step, int operand, const Roles& roles, bool operand_zero_changes) {
  const Insn& k = step.insn;
  const Format& f = roles.format(operand);
  const Operand& o = k.operands[operand];
  operand_ = roles.role[operand];
  if (o.kind == OperandKind::memory) {
    if (f.is_fp32() && !operand_zero_changes) return {Mem::of(k.memory), k.broadcast};
    return memory_source(step, f);
  }
  if (embedded_ >> o.index & 1) return {element_[o.index], true};
  if (o.index != k.operands[0].index) {
    return f.is_fp32() ? o.index : rounded_register(o.index, f, width(k), k.fma.scalar);
  }
  // The register is also operand 0, which may be about to change.
  if ((roles.format(0) == f && !f.is_stochastic()) || (!operand_zero_changes && known(o.index, f, k.fma.scalar))) return o.index;
  const int t = acquire_temporary();
  if (f.is_fp32()) asm_.vector(op::vmovups_load, width(k), t, 0, o.index);
  else round(t, o.index, f, width(k), true);
  return t;
}

/// The registers that are read must be home before the first source is prepared: what stands in for one of them may be in the place of another.
/// A displaced source of which there is a rounded copy elsewhere may stay away.
void Emitter::bring_operands_home(const Step& step, const Roles& roles) {
  const Insn& k = step.insn;
  std::uint32_t away = 0;
  for (int o = 1; o < 3; ++o) {
    const Operand& operand = k.operands[o];
    if (operand.kind != OperandKind::vector || !(state_.displaced >> operand.index & 1) || operand.index == k.operands[0].index) continue;
    const int p = find_copy(operand.index, roles.format(o), width(k));
    if (p < 0 || (k.reads.vectors >> p & 1)) continue;
    busy_ |= 1u << p;
    away |= 1u << operand.index;
  }
  // The same register twice, in two roles: one of them may need the value itself.
  if (k.operands[2].kind == OperandKind::vector && k.operands[1].index == k.operands[2].index) away = 0;
  bring_home(k.reads.vectors & ~away);
}

void Emitter::fma_step(const Step& step) {
  const Insn& k = step.insn;
  const Operator& op = *request_.op;
  const Roles roles = roles_of(k.fma, op);
  const int r0 = k.operands[0].index;
  busy_ = k.reads.vectors | k.writes.vectors;
  bring_operands_home(step, roles);
  float_constants();
  if (state_.in_place >> r0 & 1) {
    // As a source it was rounded where it is; what operand 0 keeps of it (masked or upper lanes, another format) must be its own.
    bool ends = false;
    std::uint16_t bits = 0;
    if (!ahead_.allows(step, r0, state_.grid[r0].low, false, ends, bits) || !ends) reload(r0);
  }
  mark(k.address);

  if (op.is_stochastic()) open_draws(width(k));
  // Memory first: it may fault, and nothing has changed yet.
  const bool operand_zero_changes = !known(r0, roles.format(0), k.fma.scalar);
  const bool exact = op.exact && !op.d.is_fp32();
  Rm src2 = source(step, 2, roles, operand_zero_changes);
  if (exact) src2 = in_register(k, src2);
  Rm src1 = source(step, 1, roles, operand_zero_changes);
  prepared_ = {src1, src2};
  operand_ = roles.role[0];
  round_operand_zero(step, roles.format(0));
  prepared_.clear();
  place_embedded(k, src1, src2);
  mark(k.address);
  if (exact && isa_ == Isa::avx512) emit_exact_fma(k, src1, src2);
  else if (exact) emit_exact_fma2(k, src1, src2);
  else emit_fma(k, src1, src2);

  pending_.emulated -= step.fmas;
  state_.in_place &= ~(1u << r0);
  drop_copies_of(1u << r0);
  if (!op.d.is_fp32()) {
    mark(k.next());
    operand_ = 3;
    rounded_ = Rounded::result;
    if (bounded_) round_bounded_sum(r0, op.d);
    else round_destination(k, op.d, brings_nans_, sum_bounds_);
    rounded_ = Rounded::factor;
  }
  if (op.is_stochastic()) close_draws();
  set_result_grid(k, op.d);
  if (analysis_.accumulators >> r0 & 1) accumulated(r0);
}

}  // namespace fase::core
