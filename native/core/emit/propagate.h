// What a plain instruction does to the knowledge about registers: moves, broadcasts and shuffles keep values on their grid.
#pragma once
#include "core/decode/decode.h"
#include "core/emit/state.h"

namespace fase::core {

/// The grid of the destination (explicit operand 0, fully replaced) after `insn`; nothing known for instructions that compute.
Grid grid_after(const Insn& insn, const Grid (&grid)[32]);

}  // namespace fase::core
