// The random bits of stochastic rounding (docs/operators.md). The thread's count is read before the first rounding of an instruction and written after
// the last: an instruction that faults has drawn nothing.
#include <cstddef>

#include "core/emit/emitter.h"
#include "core/numerics/random.h"

namespace fase::core {

/// Loads the words of the lanes as they stand before this instruction.
void Emitter::open_draws(unsigned bits) {
  words_ = acquire_temporary();
  const int g = borrow_gpr();
  asm_.load(g, Mem::fs(request_.scratch.random));
  asm_.vector(op::vbroadcastss, bits, words_, 0, random_word(g, offsetof(RandomStream, position)));
  asm_.vector(op::vpaddd, bits, words_, words_, random_word(g, offsetof(RandomStream, key)));
  return_gpr(g);
}

/// 32 random bits a lane for operand number `operand` (0 to 3: a to d), in a temporary.
int Emitter::draw(unsigned operand, unsigned bits) {
  const int z = acquire_temporary(), t = acquire_temporary();
  const auto scatter = [&](std::int16_t shift, std::uint32_t factor) {
    asm_.vector(op::vpsrld_imm, bits, 2, t, z, {0, false, shift, -1});
    asm_.vector(op::vpxor, bits, z, z, t);
    asm_.vector(op::vpmulld, bits, z, z, constant(factor));
  };
  asm_.vector(op::vpaddd, bits, z, words_, constant(kRandomStep * (request_.op->draws(operand) + 1)));
  scatter(16, kFirstFactor);
  scatter(15, kSecondFactor);
  release_temporary(t);
  return z;
}

/// The instruction has done all its roundings.
void Emitter::close_draws() {
  const int g = borrow_gpr();
  asm_.load(g, Mem::fs(request_.scratch.random));
  const Mem position = random_word(g, offsetof(RandomStream, position));
  asm_.vector(op::vmovss, 128, words_, 0, position);
  asm_.vector(op::vpaddd, 128, words_, words_, constant(kRandomStep * request_.op->draws()));
  asm_.vector(op::vmovss_store, 128, words_, 0, position);
  return_gpr(g);
  release_temporary(words_);
}

Mem Emitter::random_word(int base, std::size_t offset) const {
  return Mem::at(static_cast<std::uint8_t>(base), static_cast<std::int32_t>(request_.stream + offset));
}

}  // namespace fase::core
