// An instruction as the search for polynomials sees it: which value goes where. Everything else about it is dropped.
#pragma once
#include "core/decode/decode.h"
#include "core/types.h"

namespace fase::core {

enum class OpKind : std::uint8_t {
  skip,  // touches nothing that is followed
  fma,   // dst = in[0] * in[1] + in[2], signs aside
  multiply,
  add,       // or subtract
  round,     // to integer, either way: rint, floor, conversions, exponent extraction
  bits,      // integer arithmetic on lanes: exponent tricks
  select,    // moves, shuffles, logic, blends, minimum, maximum: a value passes through
  stop,      // division, roots, scaling by a power of two: what comes out is a new value
  other,     // any other vector operation
  store,     // of a vector register
  from_gpr,  // vector from a general register
  gpr_set,   // gpr = immediate
  gpr_copy,
  gpr_add,  // gpr += immediate
  gpr_lea,  // gpr = address of `memory`
  gpr_load,
  gpr_store,
  push,
  pop,
  align_stack,  // and rsp, immediate
  leave,
  clobber,   // `gprs` get unknown values
  branch,    // to `target` or on
  jump,      // to `target`
  indirect,  // jump who knows where
  call,
  end,
};

inline constexpr std::uint8_t kNone = 0xff, kMemory = 0xfe;

struct Op {
  Address at = 0;
  std::int64_t value = 0;  // immediate; displacement of the memory operand (absolute for RIP-relative); branch target
  OpKind kind = OpKind::skip;
  std::uint8_t dst = kNone;                              // vector register or GPR
  std::uint8_t in[3] = {kNone, kNone, kNone};            // vector registers, GPRs or kMemory
  bool keeps = false;                                    // lanes of the old dst survive (merge mask)
  bool zeroes = false;                                   // xor of a register with itself
  bool fp32 = false;                                     // fma: single precision
  std::uint8_t base = kNoRegister, index = kNoRegister;  // of the memory operand
  std::uint8_t bytes = 0;                                // of the memory operand
  std::uint8_t length = 0;                               // of the instruction
  std::uint16_t gprs = 0;                                // clobber: which
};

Op op_of(const Insn& insn);

}  // namespace fase::core
