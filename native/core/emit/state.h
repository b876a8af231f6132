// What the vector registers hold at one point of emitted code.
#pragma once
#include <cstdint>

#include "core/numerics/grid.h"

namespace fase::core {

enum class Content : std::uint8_t {
  guest,     // the guest's register of the same number
  free,      // ours, nothing in it
  constant,  // ours: a constant in every lane
  copy,      // ours: a guest register, rounded
  memory,    // ours: a memory operand, rounded
  copy64,    // ours: a guest register, its 64-bit lanes rounded to the double-precision operator's format number `value`
};

struct Holder {
  Content content = Content::guest;
  std::uint8_t of = 0;         // copy: which register
  Format format;               // copy: rounded to
  std::uint16_t bits = 0;      // copy: valid width
  std::uint16_t next_use = 0;  // memory: the step that reads the same operand
  std::uint64_t value = 0;     // constant: twice, if it has 32 bits
  bool operator==(const Holder&) const = default;
};

/// A 32-bit constant as a register of 64-bit lanes holds it.
constexpr std::uint64_t twice(std::uint32_t value) { return static_cast<std::uint64_t>(value) << 32 | value; }

struct State {
  Holder holder[32];            // of what is not displaced: the guest's
  Grid grid[32];                // of the guest's registers as the FMAs see them
  std::uint32_t low64 = 0;      // guest registers whose lowest 64-bit lane rounding to the double-precision operator's d would not change
  std::uint32_t all64 = 0;      // the same of all lanes
  std::uint32_t displaced = 0;  // register is ours; the guest's value is in its home in scratch
  std::uint32_t dead = 0;       // of those: nobody reads the guest's value again, so it was not saved
  std::uint32_t in_place = 0;   // register holds the rounded value; the guest's is in its home
  std::uint32_t constants = 0;  // registers that were given a constant; what has one is among them
  std::uint32_t in_scratch() const { return (displaced & ~dead) | in_place; }
};

}  // namespace fase::core
