// What the bytes of the instructions of interest look like. (`looks_like_fma` and `any_fma_pattern` in discover.h look for all of them.)
//   FMA       VEX.66.0F38 and EVEX.66.0F38, opcodes 96-9F, A6-AF, B6-BF; W1: double precision
//   BF16      EVEX.F3.0F38.W0 52 VDPBF16PS; EVEX.F3.0F38.W0 72 and VEX.F3.0F38.W0 72 VCVTNEPS2BF16 (vvvv unused); EVEX.F2.0F38.W0 72 VCVTNE2PS2BF16
//
//   VEX   C4  RXB.00010  W.vvvv.L.pp            opcode modrm ...
//   EVEX  62  RXBR'.0010 W.vvvv.1.pp  zLLbV'aaa opcode modrm ...       pp: 1 for 66, 2 for F3, 3 for F2
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace fase::core {

constexpr bool fma_opcode(std::uint8_t op) { return (op & 0x0f) >= 6 && op >= 0x90 && op < 0xc0; }

/// `p` has at least 5 readable bytes, like below. (The shortest instructions have 5: VEX without displacement.)
inline bool fma_pattern(const std::uint8_t* p) {
  if (p[0] == 0xc4) return (p[1] & 0x1f) == 2 && (p[2] & 3) == 1 && fma_opcode(p[3]);
  return p[0] == 0x62 && (p[1] & 0x0f) == 2 && (p[2] & 7) == 5 && fma_opcode(p[4]);
}

inline Bf16 bf16_pattern(const std::uint8_t* p) {
  constexpr std::uint8_t kDot = 0x52, kConvert = 0x72;
  if (p[0] == 0xc4) return (p[1] & 0x1f) == 2 && (p[2] & 0xfb) == 0x7a && p[3] == kConvert ? Bf16::conversion : Bf16::none;
  if (p[0] != 0x62 || (p[1] & 0x0f) != 2) return Bf16::none;
  if (p[4] == kDot) return (p[2] & 0x87) == 6 ? Bf16::dot : Bf16::none;
  const bool one = p[2] == 0x7e && (p[3] & 8) != 0, two = (p[2] & 0x87) == 7;
  return p[4] == kConvert && (one || two) ? Bf16::conversion : Bf16::none;
}

/// Segment and address-size prefixes, which may stand before the pattern.
inline std::size_t count_prefixes(const std::uint8_t* p, std::size_t n) {
  const auto is_prefix = [](std::uint8_t b) { return b == 0x67 || b == 0x64 || b == 0x65 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x26; };
  std::size_t prefixes = 0;
  while (prefixes < 10 && prefixes < n && is_prefix(p[prefixes])) ++prefixes;
  return prefixes;
}

}  // namespace fase::core
