#include "core/decode/stand_in.h"

#include <cstring>

#include "core/discover/pattern.h"

namespace fase::core {
namespace {

// VEX.66.0F.WIG 5A
constexpr std::uint8_t kMap0f = 1, kPrefix66 = 1, kCvtpd2ps = 0x5a;

}  // namespace

bool stand_in(const std::uint8_t* p, std::size_t n, std::uint8_t (&out)[kMaxInstruction]) {
  if (n > kMaxInstruction) n = kMaxInstruction;
  const std::size_t prefixes = count_prefixes(p, n);
  if (n - prefixes < 5 || p[prefixes] != 0xc4 || bf16_pattern(p + prefixes) == Bf16::none) return false;
  std::memcpy(out, p, n);
  std::uint8_t* vex = out + prefixes;
  vex[1] = static_cast<std::uint8_t>((vex[1] & 0xe0) | kMap0f);
  vex[2] = static_cast<std::uint8_t>((vex[2] & ~3u) | kPrefix66);
  vex[3] = kCvtpd2ps;
  return true;
}

}  // namespace fase::core
