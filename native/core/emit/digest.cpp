#include "core/emit/digest.h"

#include <bit>

namespace fase::core {

/// Multiplying spreads upward, rotating brings that down again.
void Digest::add(std::uint64_t word) { value_ = std::rotl((value_ ^ word) * 0x9e3779b97f4a7c15U, 29); }

void Digest::add(const Format& f) {
  const auto byte = [](auto x, unsigned at) { return static_cast<std::uint64_t>(static_cast<std::uint8_t>(x)) << at; };
  add(byte(f.mantissa_bits, 0) | byte(f.random_bits, 8) | byte(f.literals, 16) | byte(f.literal, 24) | byte(f.rounding, 32) | byte(f.overflow, 40) |
      byte(f.infinity, 48) | byte(f.nan, 52) | byte(f.signed_zero, 56) | byte(f.holds_zero, 57) | byte(f.stable_lookup, 58));
  add(static_cast<std::uint64_t>(f.max_positive) << 32 | f.max_negative);
  add(static_cast<std::uint64_t>(f.least) << 32 | static_cast<std::uint32_t>(f.min_exponent));
  add(reinterpret_cast<std::uint64_t>(f.lookup));
}

void Digest::add(const Holder& h) {
  add(static_cast<std::uint64_t>(h.content) | static_cast<std::uint64_t>(h.of) << 8 | static_cast<std::uint64_t>(h.bits) << 16 |
      static_cast<std::uint64_t>(h.next_use) << 32);
  add(h.format);
  add(h.value);
}

void Digest::add(const State& s) {
  for (const std::uint32_t registers : {s.displaced, s.dead, s.in_place, s.low64, s.all64}) add(registers);
  for (std::uint32_t m = s.displaced; m; m &= m - 1) add(s.holder[std::countr_zero(m)]);
  for (std::uint64_t r = 0; r < 32; ++r) {
    const Grid& g = s.grid[r];
    if (g == Grid{}) continue;
    add(r);
    add(g.low);
    add(g.rest);
  }
}

void Digest::add(const Rm& rm) {
  const Mem& m = rm.mem;
  add(static_cast<std::uint64_t>(rm.memory) | static_cast<std::uint64_t>(rm.broadcast) << 1 | static_cast<std::uint64_t>(rm.reg) << 8 |
      static_cast<std::uint64_t>(m.segment) << 16 | static_cast<std::uint64_t>(m.base) << 24 | static_cast<std::uint64_t>(m.index) << 32 |
      static_cast<std::uint64_t>(m.scale) << 40);
  add(static_cast<std::uint64_t>(m.disp));
}

}  // namespace fase::core
