// One double-precision FMA under the operator: sources rounded into registers of ours, operand 0 where it is, the instruction itself, the result
// rounded. Rounded copies of sources are kept while they hold; an accumulator that is known to be on the grid is not rounded again.
#include <bit>

#include "core/emit/emitter.h"
#include "core/emit/rounder64.h"

namespace fase::core {
namespace {

unsigned width(const Insn& insn) { return insn.fma.scalar ? 128 : insn.vector_bits; }
bool merges(const Insn& insn) { return insn.mask != 0 && !insn.zeroing; }

/// Formats of operands 0, 1, 2.
void roles_of(const FmaInfo& fma, const Operator64& op, const Format64* (&out)[3]) {
  static constexpr int kRole[3][3] = {{0, 2, 1}, {1, 0, 2}, {2, 0, 1}};  // of operands 0, 1, 2 in the forms 132, 213, 231
  const Format64* const formats[3] = {&op.a, &op.b, &op.c};
  for (int o = 0; o < 3; ++o) out[o] = formats[kRole[fma.form][o]];
}

/// The same number for equal formats of factors and addend.
std::uint64_t number_of(const Format64& f, const Operator64& op) { return f == op.a ? 0 : f == op.b ? 1 : 2; }

}  // namespace

bool Emitter::known64(int r, const Format64& f, bool scalar) const {
  if (f.is_native()) return true;
  return passes(kKnownGrid) && f == request_.op->fp64.d && (scalar ? state_.low64 : state_.all64) >> r & 1;
}

void Emitter::forget_grid64(std::uint32_t registers) {
  state_.low64 &= ~registers;
  state_.all64 &= ~registers;
}

void Emitter::round64(int dst, int src, const Format64& f, unsigned bits, unsigned mask) {
  int temporary[Rounder64::kTemporaries];
  for (int& t : temporary) t = acquire_temporary();
  const int result = dst == src || mask != 0 ? acquire_temporary() : dst;
  Rounder64(asm_, *this, isa_, f, bits, src, result, temporary).emit();
  if (result != dst) {
    const VectorOp& move = mask != 0 ? op::vmovupd_load : op::vmovups_load;
    asm_.vector(move, bits, dst, 0, result, {static_cast<std::uint8_t>(mask), false, -1, -1});
    release_temporary(result);
  }
  for (const int t : temporary) release_temporary(t);
}

/// Number of the register that holds round(r, f).
int Emitter::rounded_register64(int r, const Format64& f, unsigned bits, bool scalar) {
  if (known64(r, f, scalar)) return r;
  const std::uint64_t number = number_of(f, request_.op->fp64);
  for (int p = 0; p < 32; ++p) {
    const Holder& h = state_.holder[p];
    if (h.content != Content::copy64 || h.of != r || h.value != number || h.bits < bits) continue;
    busy_ |= 1u << p;
    return p;
  }
  const int p = acquire(true);
  round64(p, r, f, bits);
  if (passes(kReuseCopies)) state_.holder[p] = Holder{Content::copy64, static_cast<std::uint8_t>(r), {}, static_cast<std::uint16_t>(bits), 0, number};
  return p;
}

void Emitter::load_operand64(const Insn& insn, int into) {
  const Mods mods{insn.mask, insn.mask != 0, -1, -1};
  const VectorOp& broadcast = insn.vector_bits == 128 ? op::vmovddup : op::vbroadcastsd;
  const VectorOp& load = insn.fma.scalar ? op::vmovsd : insn.broadcast ? broadcast : op::vmovupd_load;
  asm_.vector(load, width(insn), into, 0, Mem::of(insn.memory), mods);
}

/// Where operand 1 or 2 is read from, rounded as its role wants.
Rm Emitter::source64(const Step& step, int operand, const Format64* const (&roles)[3], bool operand_zero_changes) {
  const Insn& k = step.insn;
  const Format64& f = *roles[operand];
  const Operand& o = k.operands[operand];
  if (o.kind == OperandKind::memory) {
    if (f.is_native() && !operand_zero_changes) return {Mem::of(k.memory), k.broadcast};
    const int p = acquire_temporary();
    mark(k.address);
    load_operand64(k, p);
    if (!f.is_native()) round64(p, p, f, width(k));
    return p;
  }
  if (o.index != k.operands[0].index) return rounded_register64(o.index, f, width(k), k.fma.scalar);
  // The register is also operand 0, which may be about to change.
  if (*roles[0] == f || (!operand_zero_changes && known64(o.index, f, k.fma.scalar))) return o.index;
  const int t = acquire_temporary();
  if (f.is_native()) asm_.vector(op::vmovups_load, width(k), t, 0, o.index);
  else round64(t, o.index, f, width(k));
  return t;
}

/// Rounds the lanes of register operand 0 that the instruction uses or has written.
void Emitter::round_destination64(const Insn& insn, const Format64& f) {
  const int r = insn.operands[0].index;
  const unsigned mask = merges(insn) ? insn.mask : 0;
  if (!insn.fma.scalar) return round64(r, r, f, width(insn), mask);
  const int t = acquire_temporary();
  round64(t, r, f, 128);
  asm_.vector(op::vmovsd, 128, r, r, t, {static_cast<std::uint8_t>(mask), false, -1, -1});
  release_temporary(t);
}

void Emitter::set_result_grid64(const Insn& insn) {
  const std::uint32_t r = 1u << insn.operands[0].index;
  if (merges(insn)) return;  // lanes that stay are what they were, the others are on the grid
  state_.low64 |= r;
  if (!insn.fma.scalar) state_.all64 |= r;
}

void Emitter::fma64_step(const Step& step) {
  const Insn& k = step.insn;
  const Operator64& op = request_.op->fp64;
  const Format64* roles[3];
  roles_of(k.fma, op, roles);
  const int r0 = k.operands[0].index;
  busy_ = k.reads.vectors | k.writes.vectors;
  bring_home(k.reads.vectors);
  for (std::uint32_t m = k.reads.vectors & state_.in_place; m; m &= m - 1) reload(std::countr_zero(m));
  float_constants();
  mark(k.address);

  // Memory first: it may fault, and nothing has changed yet.
  const bool operand_zero_changes = !known64(r0, *roles[0], k.fma.scalar);
  const Rm src2 = source64(step, 2, roles, operand_zero_changes);
  const Rm src1 = source64(step, 1, roles, operand_zero_changes);
  if (operand_zero_changes) round_destination64(k, *roles[0]);
  mark(k.address);
  emit_fma(k, src1, src2);

  --pending_.fp64_emulated;
  drop_copies_of(1u << r0);
  state_.grid[r0] = Grid{};
  if (!op.d.is_native()) {
    mark(k.next());
    round_destination64(k, op.d);
  }
  set_result_grid64(k);
}

}  // namespace fase::core
