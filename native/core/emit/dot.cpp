// One VDPBF16PS under an operator. The CPU's own instruction computes the multiply-adds, one half of the pairs at a time: in the other half the factors
// are -0 and +0, whose product changes no sum, zeros with their signs included. So flushing, rounding to nearest whatever MXCSR says, and
// NaNs are the hardware's. Operand 0 changes after the memory operand was read.
#include <bit>

#include "core/emit/emitter.h"

namespace fase::core {
namespace {

constexpr VectorOp kDot{2, 2, 0x52, true};
constexpr std::uint32_t kOdd = 0xffff0000, kEven = 0x0000ffff;  // halves of a pair: the odd element is the upper one
constexpr std::int16_t kHalf = 16;

Mods by(std::int16_t bits) { return {0, false, bits, -1}; }

}  // namespace

/// dst = both elements of each pair in src, rounded; dst is not src.
void Emitter::round_pairs(int dst, int src, Format f, unsigned bits) {
  const int even = acquire_temporary();
  asm_.vector(op::vpand, bits, dst, src, constant(kOdd));
  asm_.vector(op::vpsrld_imm, bits, 6, even, src, by(kHalf));  // vpslld
  round(dst, dst, f, bits, true);
  round(even, even, f, bits, true);
  asm_.vector(op::vpsrld_imm, bits, 2, even, even, by(kHalf));
  asm_.vector(op::vpor, bits, dst, dst, even);
  release_temporary(even);
}

/// The register with a factor, rounded. `memory`: where a memory operand was loaded.
int Emitter::dot_factor(const Operand& o, int memory, Format f, unsigned bits) {
  const int from = o.kind == OperandKind::memory ? memory : o.index;
  if (f.is_fp32()) return from;
  const int r = acquire_temporary();
  round_pairs(r, from, f, bits);
  return r;
}

/// sum += a * b, of the odd or the even elements.
void Emitter::half_product(int sum, int a, int b, bool odd, unsigned bits) {
  const int x = acquire_temporary(), y = acquire_temporary();
  asm_.vector(op::vpand, bits, x, a, constant(odd ? kOdd : kEven));
  asm_.vector(op::vpor, bits, x, x, constant(odd ? kSignBit >> kHalf : kSignBit));
  asm_.vector(op::vpand, bits, y, b, constant(odd ? kOdd : kEven));
  asm_.vector(kDot, bits, sum, x, y);
  release_temporary(x);
  release_temporary(y);
}

void Emitter::dot_step(const Step& step) {
  const Insn& k = step.insn;
  const int r0 = k.operands[0].index;
  const unsigned bits = k.vector_bits;
  busy_ = k.reads.vectors | k.writes.vectors;
  bring_home(k.reads.vectors);
  for (std::uint32_t m = k.reads.vectors & state_.in_place; m; m &= m - 1) reload(std::countr_zero(m));
  mark(k.address);
  int memory = -1;
  if (k.operands[2].kind == OperandKind::memory) {
    memory = acquire_temporary();
    mark(k.address);
    load_operand(k, memory);
  }
  const int a = dot_factor(k.operands[1], memory, dot_.a, bits), b = dot_factor(k.operands[2], memory, dot_.b, bits);
  const Mods mods{k.mask, k.zeroing, -1, -1};
  if (!dot_.rounds_sums()) {
    asm_.vector(kDot, bits, r0, a, b, mods);
  } else {
    const bool apart = k.mask != 0 || a == r0 || b == r0;  // operand 0 must stay until the last instruction
    const int sum = apart ? acquire_temporary() : r0;
    if (apart) asm_.vector(op::vmovups_load, bits, sum, 0, r0);
    if (!apart) round_operand_zero(step, dot_.c);
    else if (!known(r0, dot_.c, false)) round(sum, sum, dot_.c, bits, true);
    for (const bool odd : {true, false}) {
      half_product(sum, a, b, odd, bits);
      if (!dot_.d.is_fp32()) round(sum, sum, dot_.d, bits, true);
      if (odd && !dot_.c.is_fp32() && !within(dot_.result, dot_.c)) round(sum, sum, dot_.c, bits, true);
    }
    if (apart) asm_.vector(op::vmovups_load, bits, r0, 0, sum, mods);
  }
  mark(k.next());
  --pending_.dots_emulated;
  drop_copies_of(1u << r0);
  set_result_grid(k, dot_.result);
}

}  // namespace fase::core
