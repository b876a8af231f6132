// What the bytes of an FMA look like:
//   VEX   C4  RXB.00010  W.vvvv.L.01            opcode modrm ...
//   EVEX  62  RXBR'.0010 W.vvvv.1.01  zLLbV'aaa opcode modrm ...
// with opcode 96-9F, A6-AF or B6-BF in map 0F38 under prefix 66.
#include <emmintrin.h>

#include "core/discover/discover.h"

namespace fase::core {
namespace {

constexpr bool fma_opcode(std::uint8_t op) { return (op & 0x0f) >= 6 && op >= 0x90 && op < 0xc0; }

/// `p` has at least 5 readable bytes. (The shortest FMA has 5: VEX without displacement.)
inline bool starts_like_fma(const std::uint8_t* p) {
  if (p[0] == 0xc4) return (p[1] & 0x1f) == 2 && (p[2] & 3) == 1 && fma_opcode(p[3]);
  return p[0] == 0x62 && (p[1] & 0x0f) == 2 && (p[2] & 7) == 5 && fma_opcode(p[4]);
}

}  // namespace

bool looks_like_fma(const std::uint8_t* p, std::size_t n) { return n >= 5 && starts_like_fma(p); }

bool any_fma_pattern(const std::uint8_t* p, std::size_t n, std::size_t tail) {
  const std::size_t readable = n + tail;
  std::size_t i = 0;
  const __m128i c4 = _mm_set1_epi8(static_cast<char>(0xc4)), h62 = _mm_set1_epi8(0x62), low = _mm_set1_epi8(0x0f), two = _mm_set1_epi8(2);
  const auto load = [&](std::size_t at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + at)); };
  const auto hits = [&](std::size_t at) {
    const __m128i first = load(at), second = load(at + 1);
    const __m128i escape = _mm_or_si128(_mm_cmpeq_epi8(first, c4), _mm_cmpeq_epi8(first, h62));
    return _mm_and_si128(escape, _mm_cmpeq_epi8(_mm_and_si128(second, low), two));
  };
  // Escape and map of 32 positions at a time; what passes is looked at byte by byte. 20 bytes past a position are read by its block.
  for (; i + 32 <= n && i + 37 <= readable; i += 32) {
    const __m128i a = hits(i), b = hits(i + 16);
    if (_mm_movemask_epi8(_mm_or_si128(a, b)) == 0) continue;
    unsigned mask = static_cast<unsigned>(_mm_movemask_epi8(a)) | static_cast<unsigned>(_mm_movemask_epi8(b)) << 16;
    for (; mask != 0; mask &= mask - 1)
      if (starts_like_fma(p + i + static_cast<unsigned>(__builtin_ctz(mask)))) return true;
  }
  for (; i < n && i + 5 <= readable; ++i)
    if (starts_like_fma(p + i)) return true;
  return false;
}

}  // namespace fase::core
