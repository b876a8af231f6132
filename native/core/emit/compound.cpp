// One FMA of a compound operator: factors split into literals, one FMA for each partial product, the result split and summed again.
// Sums and products are rounded to nearest whatever the guest's MXCSR says: by {er}, or with AVX2 in a stretch under an MXCSR of its own. Operand 0
// changes with the last instruction.
#include <algorithm>

#include "core/emit/emitter.h"

namespace fase::core {
namespace {

// vfixupimmps: NaNs and infinities give +0.
constexpr std::uint32_t kSpecialsToZero = 0x880088;

unsigned width(const Insn& insn) { return insn.fma.scalar ? 128 : insn.vector_bits; }

/// The 231 form with packed operands of the instruction's kind.
std::uint8_t packed231(const Insn& insn) {
  const unsigned kind = insn.bytes[insn.modrm_offset - 1] & 15u;
  return static_cast<std::uint8_t>(0xb0 | (kind >= 8 ? kind & 14u : kind));
}

/// The kind for the partial products after the first: the sign of the product stays.
std::uint8_t later231(std::uint8_t first) { return first == 0xbc || first == 0xbe ? 0xbc : 0xb8; }

Format single(const Format& f) {
  Format out = f;
  out.literals = 1;
  out.literal = -1;
  return out;
}

/// NaNs that come out of the sum are on the grid of the result already.
bool on_grid_of_result(const Operator& op) {
  const Format d = single(op.d);
  return within(single(op.a), d) && within(single(op.b), d) && within(single(op.c), d);
}

}  // namespace

/// dst = first OP second, to nearest.
void Emitter::arithmetic(const VectorOp& op, unsigned bits, int dst, int first, int second) {
  if (isa_ == Isa::avx512) asm_.vector(op, 512, dst, first, second, {0, false, -1, kNearest});
  else asm_.vector(op, bits, dst, first, second);
}

/// Nothing is left of an infinity or a NaN.
void Emitter::nothing_after_specials(int rest, int literal, unsigned bits) {
  if (isa_ == Isa::avx512) return asm_.vector(op::vfixupimmps, bits, rest, literal, constant(kSpecialsToZero), {0, false, 0, -1});
  const int special = acquire_temporary();
  asm_.vector(op::vpand, bits, special, literal, constant(kMagnitude));
  asm_.vector(op::vpcmpgtd, bits, special, special, constant(kInfinity - 1));
  asm_.vector(op::vpandn, bits, rest, special, rest);
  release_temporary(special);
}

/// into[0..n) = the literals of x, largest first. What is left lives in the last one's register until its turn.
void Emitter::split(const int* into, int x, const Format& f, unsigned bits, bool nan_fix) {
  const Format one = single(f);
  const int n = f.literals, rest = into[n - 1];
  round(into[0], x, one, bits, nan_fix);
  for (int i = 1; i < n; ++i) {
    arithmetic(op::vsubps, bits, rest, i == 1 ? x : rest, into[i - 1]);
    if (i == 1) nothing_after_specials(rest, into[0], bits);
    round(into[i], rest, one, bits, false);
  }
}

/// into = the sum of the literals of x, which may be the same register.
void Emitter::sum_of_literals(int into, int x, const Format& f, unsigned bits, bool nan_fix) {
  if (f.is_fp32()) {
    if (into != x) asm_.vector(op::vmovups_load, bits, into, 0, x);
    return;
  }
  if (f.literals == 1) return round(into, x, f, bits, nan_fix);
  int part[3];
  for (int i = 0; i < f.literals; ++i) part[i] = i == 0 && into != x ? into : acquire_temporary();
  split(part, x, f, bits, nan_fix);
  for (int i = 1; i < f.literals; ++i) arithmetic(op::vaddps, bits, i + 1 < f.literals ? part[0] : into, part[0], part[i]);
  for (int i = into != x ? 1 : 0; i < f.literals; ++i) release_temporary(part[i]);
}

/// sum_of_literals outside of an FMA.
void Emitter::round_sum(int into, int x, const Format& f, unsigned bits) {
  if (isa_ == Isa::avx2 && f.literals > 1) open_mxcsr(kMxcsrNearest);
  sum_of_literals(into, x, f, bits, true);
  if (own_mxcsr_) close_mxcsr();
}

/// The literals of a factor in `value`, which is guest register `r` or (-1) a temporary. Those of registers are kept as long as they hold.
void Emitter::factor_literals(int (&out)[3], int value, int r, const Format& f, unsigned bits) {
  out[0] = value;
  if (f.is_fp32() || (r >= 0 && f.literals == 1 && known(r, f, trace_.steps[step_].insn.fma.scalar))) return;
  bool all = r >= 0;
  for (int i = 0; all && i < f.literals; ++i) all = (out[i] = find_copy(r, f.only(i), bits)) >= 0;
  for (int i = 0; i < f.literals; ++i) {
    if (!all) out[i] = acquire(r >= 0);
    busy_ |= 1u << out[i];
  }
  if (all) return;
  split(out, value, f, bits, true);
  if (r < 0 || !passes(kReuseCopies)) return;
  for (int i = 0; i < f.literals; ++i)
    state_.holder[out[i]] = Holder{Content::copy, static_cast<std::uint8_t>(r), f.only(i), static_cast<std::uint16_t>(bits), 0, 0};
}

/// The literals of this step's memory factor, from an earlier read of it or from scratch. False: it must be loaded.
bool Emitter::kept_memory_literals(int (&out)[3], const Format& f, unsigned bits) {
  if (const std::uint16_t group = memory_.group[step_]; group != kNever) {
    for (int i = 0; i < f.literals; ++i) {
      out[i] = acquire_temporary();
      asm_.vector(op::vbroadcastss, bits, out[i], 0, Mem::fs(memory_.groups[group].literal(i) + 4 * memory_.element[step_]));
    }
    return true;
  }
  for (int i = 0; i < f.literals; ++i) {
    const Format wanted = f.only(i);
    out[i] = -1;
    for (int p = 0; p < 32; ++p) {
      const Holder& h = state_.holder[p];
      if (h.content == Content::memory && h.next_use == step_ && h.format == wanted) out[i] = p;
    }
    if (out[i] < 0) return false;
  }
  keep_memory_literals(out, f, bits);
  return true;
}

/// Until the next step that reads the same operand, if there is one.
void Emitter::keep_memory_literals(const int (&literal)[3], const Format& f, unsigned bits) {
  const std::uint16_t again = memory_.next_same[step_];
  for (int i = 0; i < f.literals; ++i) {
    busy_ |= 1u << literal[i];
    state_.holder[literal[i]] =
        again == kNever ? Holder{Content::free, 0, {}, 0, 0, 0} : Holder{Content::memory, 0, f.only(i), static_cast<std::uint16_t>(bits), again, 0};
  }
}

/// x is lost.
void Emitter::store_literals(const BroadcastGroup& g, int x) {
  int part[3];
  for (int i = 0; i < g.format.literals; ++i) part[i] = acquire_temporary();
  if (isa_ == Isa::avx2) open_mxcsr(kMxcsrNearest);
  split(part, x, g.format, g.bits, true);
  if (isa_ == Isa::avx2) close_mxcsr();
  for (int i = 0; i < g.format.literals; ++i) {
    asm_.vector(op::vmovups_store, g.bits, part[i], 0, Mem::fs(g.literal(i)));
    release_temporary(part[i]);
  }
}

void Emitter::compound_step(const Step& step) {
  const Insn& k = step.insn;
  const Operator& op = *request_.op;
  const int r0 = k.operands[0].index;
  const unsigned bits = width(k);
  busy_ = k.reads.vectors | k.writes.vectors;
  bring_home(k.reads.vectors);
  mark(k.address);
  static constexpr int kPlaces[3][3] = {{0, 2, 1}, {1, 0, 2}, {1, 2, 0}};  // operands that are a, b, c in the forms 132, 213, 231
  const int* place = kPlaces[k.fma.form];
  const bool has_memory = k.operands[2].kind == OperandKind::memory;
  const auto is_memory = [&](int i) { return place[i] == 2 && has_memory; };
  const Format& last = is_memory(0) ? op.a : op.b;  // where it is a factor
  // Memory first: it may fault, and nothing has changed yet.
  int memory = -1, factor[3] = {-1, -1, -1};
  if (has_memory && (is_memory(2) || !kept_memory_literals(factor, last, bits))) {
    memory = acquire_temporary();
    mark(k.address);
    load_operand(k, memory);
  }
  const auto value = [&](int i) { return is_memory(i) ? memory : static_cast<int>(k.operands[place[i]].index); };

  if (isa_ == Isa::avx2) open_mxcsr(kMxcsrNearest);
  // All lanes of operand 0 change: the sum may grow there, unless it is a factor too or has lanes of its own above the instruction's.
  const bool whole = k.mask == 0 && !k.fma.scalar;
  const bool in_place = whole && place[2] == 0 && value(0) != r0 && value(1) != r0 && (bits == 512 || !op.d.is_fp32());
  const int sum = in_place ? r0 : acquire_temporary();
  // Three literals of more than eight bits can have a sum that splits into others.
  const bool lasting = op.c.literals < 3;
  const bool known_sum = !is_memory(2) && lasting && known(value(2), op.c, k.fma.scalar);
  if (place[2] == 0 && lasting) note_first_rounding(step, op.c);
  if (!known_sum) sum_of_literals(sum, value(2), op.c, bits, true);
  else if (sum != value(2)) asm_.vector(op::vmovups_load, bits, sum, 0, value(2));
  int a[3], b[3];
  if (memory >= 0 && !is_memory(2)) {
    factor_literals(factor, memory, -1, last, bits);
    if (!last.is_fp32()) keep_memory_literals(factor, last, bits);
  }
  const auto literals = [&](int(&out)[3], int i, const Format& f) {
    if (is_memory(i)) std::copy(factor, factor + 3, out);
    else factor_literals(out, value(i), value(i), f, bits);
  };
  literals(a, 0, op.a);
  literals(b, 1, op.b);
  std::uint8_t opcode = packed231(k);
  for (int i = 0; i < op.product_count; ++i) {
    arithmetic({2, 1, opcode}, bits, sum, a[op.products[i].a], b[op.products[i].b]);
    opcode = later231(opcode);
  }
  busy_ = k.reads.vectors | k.writes.vectors | 1u << sum;  // the literals may go
  const int result = whole ? r0 : sum;
  if (!op.d.is_fp32() || result != sum) sum_of_literals(result, sum, op.d, bits, !on_grid_of_result(op));
  if (isa_ == Isa::avx2) close_mxcsr();
  const Mods mods{k.mask, k.zeroing, -1, -1};
  if (k.fma.scalar) asm_.vector(op::vmovss, 128, r0, r0, result, mods);
  else if (result != r0) asm_.vector(op::vmovups_load, bits, r0, 0, result, mods);
  mark(k.next());
  pending_.emulated -= step.fmas;
  drop_copies_of(1u << r0);
  set_result_grid(k, op.d);
}

}  // namespace fase::core
