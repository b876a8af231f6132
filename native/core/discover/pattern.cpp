#include "core/discover/pattern.h"

#include <emmintrin.h>

#include "core/discover/discover.h"

namespace fase::core {
namespace {

inline bool starts_like_fma(const std::uint8_t* p) { return fma_pattern(p) || bf16_pattern(p) != Bf16::none; }

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
  // Escape and map of 32 positions at a time; what passes is looked at byte by byte. Blocks stay within the n bytes: a read of the tail may bring
  // further pages into memory, so only what starts like an FMA is worth one.
  for (; i + 37 <= n; i += 32) {
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
