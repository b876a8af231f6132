// A stretch of emitted code under an MXCSR of its own: what {er} is to AVX-512. It masks and clears every exception, treats subnormals as what they are,
// and ends by loading the guest's MXCSR again, flags and all. Nothing inside may read the guest's memory: a fault would find the wrong MXCSR.
#include "core/emit/emitter.h"

namespace fase::core {

void Emitter::open_mxcsr(std::uint32_t own) {
  asm_.vector(op::vstmxcsr, 128, 3, 0, mxcsr_home());
  own_mxcsr_ = true;
  remark();
  asm_.vector(op::vldmxcsr, 128, 2, 0, Mem{Segment64::none, kPool, kNoRegister, 1, static_cast<std::int64_t>(asm_.constant(own))});
}

void Emitter::close_mxcsr() {
  asm_.vector(op::vldmxcsr, 128, 2, 0, mxcsr_home());
  own_mxcsr_ = false;
  remark();
}

}  // namespace fase::core
