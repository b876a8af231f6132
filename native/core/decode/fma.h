// FMA instructions: what their opcode says, and the plain ones, which kernels are made of, decoded without Zydis, which takes many times as long.
#pragma once
#include "core/decode/decode.h"

namespace fase::core {

/// What opcode and W of an FMA say (pattern.h).
FmaInfo fma_info(std::uint8_t opcode, bool wide);

/// The length of the FMA at `p` (n readable bytes) if it is plain: no legacy prefix, no mask, no embedded rounding, registers and memory at a base.
/// 0 for all else.
std::uint8_t plain_fma_length(const std::uint8_t* p, std::size_t n);

/// decode() of a plain FMA, equal in every field. False: it is none.
bool decode_plain_fma(const std::uint8_t* p, std::size_t n, Address at, Insn& out);

}  // namespace fase::core
