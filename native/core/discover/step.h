// One instruction as discovery needs it: how long it is and where control goes.
#pragma once
#include "core/types.h"

namespace fase::core {

enum class StepKind : std::uint8_t {
  plain,
  branch,         // direct conditional: `target` or the next instruction
  jump,           // direct
  call,           // direct
  indirect_jump,  // through a register or a table: targets unknown
  tail_call,      // jmp [rip+x]: leaves the function
  end,            // ret, ud2, int3, hlt...: control does not go on
};

struct Step {
  std::uint8_t length = 0;  // 0: no valid instruction
  StepKind kind = StepKind::plain;
  bool padding = false;     // nop, int3
  bool rare = false;        // valid, but neither compilers nor JITs write it: a sign that this is data
  bool privileged = false;  // faults in a program: certainly not executed
  Address target = 0;       // branch, jump, call
  Address data = 0;         // address of a RIP-relative access; 0: none
  std::uint8_t data_bytes = 0;
  Address pointer = 0;    // an address it makes (lea rip, mov r64, imm64); 0: none
  bool constant = false;  // may bring a constant into a vector register, or its address into a general one
};

/// Decodes the instruction at `p` (n readable bytes) that lives at `at`.
Step step(const std::uint8_t* p, std::size_t n, Address at);

}  // namespace fase::core
