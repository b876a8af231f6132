// The random bits of stochastic rounding (docs/operators.md): a counter per thread, mixed with a key per lane.
#pragma once
#include <cstdint>

namespace fase::core {

inline constexpr std::uint32_t kRandomStep = 0x9e3779b9, kFirstFactor = 0x21f0aaad, kSecondFactor = 0x735a2d97;
inline constexpr unsigned kRandomLanes = 16;

/// The same as fase.formats.random.mix.
constexpr std::uint32_t mix(std::uint32_t z) {
  z = (z ^ z >> 16) * kFirstFactor;
  return (z ^ z >> 15) * kSecondFactor;
}

/// The state of one thread under one seed, in memory that emitted code reaches through Scratch::random.
struct alignas(64) RandomStream {
  std::uint32_t key[kRandomLanes] = {};
  std::uint32_t position = 0;  // kRandomStep times the number of roundings so far
};

constexpr RandomStream random_stream(std::uint32_t seed, std::uint32_t thread) {
  RandomStream stream;
  const std::uint32_t base = mix(seed + kRandomStep * (thread + 1));
  for (std::uint32_t lane = 0; lane < kRandomLanes; ++lane) stream.key[lane] = mix(base + kRandomStep * (lane + 1));
  return stream;
}

}  // namespace fase::core
