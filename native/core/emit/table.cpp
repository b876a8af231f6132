// Rounding to a format given by its values (core/numerics/lookup.h): the number of its bucket, a short binary search among the limits there, the value.
#include "core/emit/sequence.h"
#include "core/numerics/lookup.h"

namespace fase::core {
namespace {
constexpr int kNotAbove = 2;  // vpcmpd: less or equal
}  // namespace

/// dst = word number at + index of the table.
void Sequence::gather(int dst, int index, std::uint32_t at) {
  flush_pending();
  const Mem words{Segment64::none, static_cast<std::uint8_t>(gpr_), static_cast<std::uint8_t>(index & 15), 4, static_cast<std::int64_t>(4 * at)};
  if (wide()) {
    a_.fill_opmask(opmask_);
    return a_.vector(op::vpgatherdd, bits_, dst, index & 16, words, {static_cast<std::uint8_t>(opmask_), false, -1, -1});
  }
  a_.vector(op::vpcmpeqd, bits_, v_, v_, v_);
  a_.vector(op::vpgatherdd, bits_, dst, v_, words);
}

void Sequence::table(int dst, unsigned mask) {
  const Lookup& lookup = *format_.lookup;
  a_.set(gpr_, reinterpret_cast<std::uint64_t>(lookup.data()));
  magnitude(t_);
  op3(op::vpminud, t_, t_, kInfinity);
  shift_right(e_, x_, 31, true);
  op3(op::vpxor, t_, t_, e_);
  shift_right(e_, t_, 32u - lookup.bucket_bits, false);
  gather(u_, e_, 0);
  for (std::uint32_t step = 1u << lookup.steps >> 1; step > 0; step >>= 1) {
    gather(e_, u_, lookup.limits_at + step - 1);
    if (wide()) {
      a_.vector(op::vpcmpd, bits_, opmask_, e_, t_, immediate(kNotAbove));
      a_.vector(op::vpaddd, bits_, u_, u_, constant(step), {static_cast<std::uint8_t>(opmask_), false, -1, -1});
    } else {
      op3(op::vpcmpgtd, e_, e_, t_);
      op3(op::vpandn, e_, e_, step);
      op3(op::vpaddd, u_, u_, e_);
    }
  }
  gather(t_, u_, lookup.values_at);
  nans();
  deliver(dst, mask);
}

}  // namespace fase::core
