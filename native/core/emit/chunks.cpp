// Chunked accumulation (docs/accumulation.md). While a loop runs, its accumulators hold partial sums in the operator's d; a binary32 total of each is in
// scratch. After every n accumulations a partial sum is added to its total and starts again, and at every exit the program gets the sum of both.
//
// Accumulators with as many accumulations a pass share a word in scratch, which says at the start of a pass how many accumulations are left until the
// next addition: 1 to n. It is looked at without touching a flag, by jrcxz.
#include <bit>
#include <numeric>

#include "core/emit/emitter.h"

namespace fase::core {
namespace {

constexpr int kTotalSlots = 32;  // before the words

/// Accumulation number `j` of a pass comes when so many are left, plus a multiple of n.
std::uint32_t residue(std::uint32_t j, std::uint32_t n) { return (j - 1) % n + 1; }

}  // namespace

/// An empty partial sum changes nothing that is added to it: -0, where the format has it.
Grid Emitter::empty_sum_grid(int r) const {
  const Format& d = request_.op->d;
  const Format known = d.lookup != nullptr ? kAnyValue : d.signed_zero ? d : kZeroValue;
  return accumulator(r).scalar ? Grid{known, kAnyValue} : Grid::whole(known);
}

/// The word of r and of all with as many accumulations a pass.
Mem Emitter::left(int r) const {
  std::uint32_t first = 0;
  while (!(analysis_.accumulators >> first & 1) || accumulator(static_cast<int>(first)).fmas != accumulator(r).fmas) ++first;
  return Mem::fs(request_.scratch.totals + 64 * kTotalSlots + 8 * static_cast<int>(first));
}

void Emitter::start_sum(int r) {
  const Accumulator& sum = accumulator(r);
  const std::uint32_t empty = asm_.constant(request_.op->d.signed_zero ? kSignBit : 0);
  const Mem value{Segment64::none, kPool, kNoRegister, 1, static_cast<std::int64_t>(empty)};
  if (sum.scalar) asm_.vector(op::vinsertps, 128, r, r, value, {0, false, 0, -1});
  else asm_.vector(op::vbroadcastss, sum.bits, r, 0, value);
  totals_ |= 1u << r;
  remark();
}

/// Before the loop. (Of a register's lanes above its instructions' width nobody reads the old value again.)
void Emitter::start_totals() {
  for (std::uint32_t m = analysis_.accumulators; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    asm_.vector(op::vmovups_store, spill_bits(), r, 0, total(r));
    start_sum(r);
    state_.grid[r] = empty_sum_grid(r);
    asm_.store_immediate(left(r), static_cast<std::int32_t>(request_.op->chunk));
  }
}

/// The partial sum becomes the whole sum.
void Emitter::add_total(int r) {
  const Accumulator& sum = accumulator(r);
  asm_.vector(sum.scalar ? op::vaddss : op::vaddps, sum.scalar ? 128 : sum.bits, r, r, total(r));
  totals_ &= ~(1u << r);
  remark();
}

/// Where control leaves.
void Emitter::add_totals() {
  if (totals_ == 0) return;
  open_mxcsr(kMxcsrNearest);
  for (std::uint32_t m = totals_; m; m &= m - 1) add_total(std::countr_zero(m));
  close_mxcsr();
}

void Emitter::fold(std::uint32_t registers) {
  open_mxcsr(kMxcsrNearest);
  for (std::uint32_t m = registers; m; m &= m - 1) {
    const int r = std::countr_zero(m);
    const Accumulator& sum = accumulator(r);
    add_total(r);
    asm_.vector(sum.scalar ? op::vmovss_store : op::vmovups_store, sum.scalar ? 128 : sum.bits, r, 0, total(r));
    start_sum(r);
  }
  close_mxcsr();
}

/// rcx for a few instructions. True: it must be given back.
bool Emitter::open_rcx() {
  if (passes(kDeadRegisters) && gpr_free_at(kRcx)) return false;
  save_gpr(kRcx, kScratchWord);
  return true;
}

void Emitter::close_rcx(bool saved) {
  if (saved) restore_gpr(kRcx);
}

std::uint32_t Emitter::skip_unless_left(const Mem& word, std::uint32_t accumulations) {
  asm_.load(kRcx, word);
  asm_.lea(kRcx, Mem::at(kRcx, -static_cast<std::int32_t>(accumulations)));
  return asm_.skip_unless_rcx_zero();
}

/// After an accumulation in r. What is due with the last of a pass waits for the end of the pass.
void Emitter::accumulated(int r) {
  const std::uint32_t n = request_.op->chunk, k = accumulator(r).fmas, j = ++added_[r], due = residue(j, n);
  const bool always = k % n == 0;
  if (always ? due != n : j == k || due % std::gcd(k, n) != 0) return;
  const std::uint32_t before = asm_.instructions();
  if (always) {
    fold(1u << r);
  } else {
    const bool saved = open_rcx();
    const std::uint32_t skipped = skip_unless_left(left(r), due);
    fold(1u << r);
    asm_.bind(skipped);
    close_rcx(saved);
  }
  segment_start_ += asm_.instructions() - before;
  Grid& grid = state_.grid[r];
  const Grid empty = empty_sum_grid(r);
  grid = {join(grid.low, empty.low), join(grid.rest, empty.rest)};
}

/// Accumulators with as many accumulations a pass, k. The word goes down by k modulo n, and stays between 1 and n.
void Emitter::end_pass_of(std::uint32_t registers) {
  const int first = std::countr_zero(registers);
  const std::uint32_t n = request_.op->chunk, k = accumulator(first).fmas, down = k % n;
  if (down == 0) return;
  const Mem word = left(first);
  for (std::uint32_t due = std::gcd(k, n); due <= down; due += std::gcd(k, n)) {
    const std::uint32_t skipped = skip_unless_left(word, due);
    if (due == down) fold(registers);
    asm_.store_immediate(word, static_cast<std::int32_t>(due + n));
    asm_.bind(skipped);
  }
  asm_.load(kRcx, word);
  asm_.lea(kRcx, Mem::at(kRcx, -static_cast<std::int32_t>(down)));
  asm_.store(word, kRcx);
}

void Emitter::end_pass() {
  if (analysis_.accumulators == 0) return;
  const bool saved = open_rcx();
  for (std::uint32_t m = analysis_.accumulators; m;) {
    std::uint32_t alike = 0;
    for (std::uint32_t o = m; o; o &= o - 1)
      if (accumulator(std::countr_zero(o)).fmas == accumulator(std::countr_zero(m)).fmas) alike |= o & -o;
    end_pass_of(alike);
    m &= ~alike;
  }
  close_rcx(saved);
}

}  // namespace fase::core
