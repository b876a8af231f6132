// FMA instructions: what their opcode says; and the plain instructions that kernels are made of, decoded without Zydis, which takes four times as long.
#pragma once
#include "core/decode/decode.h"

namespace fase::core {

/// What opcode and W of an FMA say (pattern.h).
FmaInfo fma_info(std::uint8_t opcode, bool wide);

/// The length of the instruction at `p` (n readable bytes) if it is plain: an FMA, VMOVUPS, VMOVAPS or VBROADCASTSS without legacy prefix, mask and
/// embedded rounding, on registers (FMAs) and memory at a base. 0 for all else.
std::uint8_t plain_length(const std::uint8_t* p, std::size_t n);

/// decode() of a plain instruction. False: it is none.
bool decode_plain(const std::uint8_t* p, std::size_t n, Address at, Insn& out);

}  // namespace fase::core
