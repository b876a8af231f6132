// Runs code on a register state, and rebuilds what the guest would see when it faults.
#pragma once
#include "lab/machine.h"

namespace fase::lab {

/// As fase_lab_run. `translation` (or null) tells what is known about the code at `code`.
int run(std::uint64_t address, FaseLabState& state, FaseLabFault& fault, const core::Translation* translation, std::uint64_t code);

}  // namespace fase::lab
