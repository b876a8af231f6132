// Instructions that Zydis 4.0 does not know, spelled as ones of the same length, operands and register effects that it does.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace fase::core {

/// VEX VCVTNEPS2BF16 (AVX-NE-CONVERT) as VCVTPD2PS. False when the n bytes at `p` are no such instruction.
bool stand_in(const std::uint8_t* p, std::size_t n, std::uint8_t (&out)[kMaxInstruction]);

}  // namespace fase::core
