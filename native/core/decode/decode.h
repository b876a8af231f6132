// One guest instruction as the rest of core wants to see it: a compact value made from Zydis' full decode.
#pragma once
#include <Zydis/Mnemonic.h>

#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace fase::core {

inline constexpr std::uint8_t kNoRegister = 0xff;
inline constexpr std::uint8_t kRip = 0xfe;

/// Sets of registers by number: zmm0-31 (any width), GPRs in encoding order, k0-k7.
struct RegisterSet {
  std::uint32_t vectors = 0;
  std::uint16_t gprs = 0;
  std::uint8_t opmasks = 0;
  constexpr void add(const RegisterSet& o) {
    vectors |= o.vectors;
    gprs |= o.gprs;
    opmasks |= o.opmasks;
  }
};

enum class Flow : std::uint8_t {
  plain,   // goes on with the next instruction; may be copied elsewhere (RIP-relative operands aside)
  jump,    // direct unconditional; `target`
  branch,  // direct conditional jcc; `target`, `condition`
  loop,    // loop/loope/loopne/jrcxz: direct conditional with an 8-bit displacement only; `target`
  call,    // direct call; `target`
  indirect_call,
  indirect_jump,
  ret,
  trap,    // int3, ud2, int1, hlt: control does not go on
  system,  // goes on, but must not be copied: syscalls, xsave/xrstor, xbegin, vzeroupper, segment bases...
};

enum class Encoding : std::uint8_t { legacy, vex, evex, xop };

enum class OperandKind : std::uint8_t { none, vector, gpr, opmask, memory, immediate, other };

/// An explicit operand, in Intel order.
struct Operand {
  OperandKind kind = OperandKind::none;
  std::uint8_t index = 0;  // register number
  std::uint16_t bits = 0;  // operand size
};

enum class Segment64 : std::uint8_t { none, fs, gs };

/// The explicit memory operand (there is at most one).
struct MemoryOperand {
  bool present = false;
  bool reads = false;  // both false: address only (lea, prefetch, nop)
  bool writes = false;
  bool vector_index = false;  // VSIB: `index` is a vector register
  bool address32 = false;     // 67 prefix
  Segment64 segment = Segment64::none;
  std::uint8_t base = kNoRegister;  // GPR, kRip or kNoRegister
  std::uint8_t index = kNoRegister;
  std::uint8_t scale = 1;
  std::uint16_t bytes = 0;  // accessed: one element for a broadcast
  std::int64_t disp = 0;    // as it enters the address (disp8*N multiplied out); for kRip: absolute target
};

/// Which product-sum an FMA computes.
enum class FmaKind : std::uint8_t { fmadd, fmsub, fnmadd, fnmsub, fmaddsub, fmsubadd };

struct FmaInfo {
  bool present = false;
  bool fp64 = false;
  bool scalar = false;
  std::uint8_t form = 0;  // 0: 132, 1: 213, 2: 231
  unsigned lanes(unsigned vector_bits) const { return scalar ? 1 : vector_bits / (fp64 ? 64 : 32); }
  FmaKind kind = FmaKind::fmadd;
};

/// Arithmetic flags; bits as in RFLAGS.
enum FlagBits : std::uint16_t {
  kCarry = 1 << 0,
  kParity = 1 << 2,
  kAdjust = 1 << 4,
  kZero = 1 << 6,
  kSign = 1 << 7,
  kDirection = 1 << 10,
  kOverflow = 1 << 11,
  kArithmeticFlags = kCarry | kParity | kAdjust | kZero | kSign | kOverflow,
};

struct Insn {
  Address address = 0;
  std::uint8_t length = 0;
  std::uint8_t bytes[kMaxInstruction] = {};
  std::uint16_t mnemonic = ZYDIS_MNEMONIC_INVALID;  // ZydisMnemonic; of no FMA, which `fma` describes
  Flow flow = Flow::plain;
  Encoding encoding = Encoding::legacy;
  std::uint8_t condition = 0;  // branch: low four bits of the jcc opcode
  Address target = 0;          // jump, branch, loop, call
  bool has_immediate = false;
  std::int64_t immediate = 0;  // first immediate, sign-extended as the instruction does

  Operand operands[4];
  std::uint8_t operand_count = 0;
  MemoryOperand memory;
  bool reads_memory = false;  // explicit or implicit (push, movs, ...)
  bool writes_memory = false;

  // Every register touched, explicitly or not. A register in `writes` but not in `kills` keeps part of its old value.
  RegisterSet reads, writes, kills;
  std::uint16_t flags_read = 0, flags_written = 0, flags_killed = 0;

  // VEX/EVEX.
  std::uint16_t vector_bits = 0;  // 128, 256, 512
  std::uint8_t mask = 0;          // EVEX aaa: 0 is none
  bool zeroing = false;
  bool broadcast = false;          // embedded {1toN}
  bool embedded_rounding = false;  // {er}: `vector_bits` is 512 or the operation is scalar
  FmaInfo fma;
  Bf16 bf16 = Bf16::none;

  // Where things are in `bytes`, for relocation.
  std::uint8_t disp_offset = 0;  // 0: no displacement
  std::uint8_t disp_bytes = 0;
  std::uint8_t modrm_offset = 0;  // 0: none

  Address next() const { return address + length; }
  bool rip_relative() const { return memory.present && memory.base == kRip; }
  bool is_fma32() const { return fma.present && !fma.fp64; }
  bool is_site() const { return fma.present || bf16 != Bf16::none; }
};

/// Decodes the instruction at `p` (n readable bytes) that lives at `at`. False: no valid instruction.
bool decode(const std::uint8_t* p, std::size_t n, Address at, Insn& out);

}  // namespace fase::core
