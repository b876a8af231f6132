// The lab's ground: memory for guest and translated code, scratch reachable from fs, and the harness that runs code on a given state.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/numerics/random.h"
#include "core/region/translate.h"
#include "lab/lab.h"

namespace fase::lab {

inline constexpr std::size_t kGuestBytes = 1 << 16;
inline constexpr std::size_t kCodeBytes = 1 << 22;
inline constexpr std::size_t kCounters = 4096;
inline constexpr std::uint32_t kVectorSlots = 62;

struct Ground {
  std::uint8_t* guest = nullptr;
  std::uint8_t* code = nullptr;
  std::uint8_t* scratch = nullptr;  // 8 KiB near the thread's fs base
  std::uint64_t* counters = nullptr;
  std::uint64_t** counter_pointer = nullptr;
  core::RandomStream* stream = nullptr;
  core::Scratch layout;
  bool avx2 = false, avx512 = false;
  bool ready = false;
};

/// Set up at first use, for the thread that calls. `ready` is false where memory near fs could not be had.
Ground& ground();

/// Address that ends a run when jumped to.
std::uint64_t landing();

}  // namespace fase::lab
