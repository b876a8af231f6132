// A format given by its values (docs/operators.md, "Tables"), prepared so that a few gathers find the value a binary32 number rounds to.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/numerics/operator.h"

namespace fase::core {

/// Binary32 numbers have the order of their keys as signed integers: magnitude for positive numbers, its complement for negative ones (-0 is -1).
/// The upper `bucket_bits` bits of a key choose a bucket, words[key >> (32 - bucket_bits)] being where its limits begin in the list of limits. Of these, there
/// are fewer than 2^steps. Infinities are alone in their buckets. All offsets are in words.
struct Lookup {
  std::vector<std::int32_t> words;  // buckets, limits (as keys), values (as encodings)
  std::uint8_t bucket_bits = 9;
  std::uint8_t steps = 0;
  std::uint32_t limits_at = 0;
  std::uint32_t values_at = 0;
  Format format;  // its policies and largest values; `format.lookup` is this

  const void* data() const { return words.data(); }
};

/// Reads a table's file. `letters`: infinity, NaN, zero. Empty, or what is wrong with the file.
std::string make_lookup(std::span<const std::uint8_t> file, std::string_view letters, Lookup& out);

/// Where the tables of an operator come from.
class TableSource {
 public:
  virtual ~TableSource() = default;
  /// The table of a key under `letters`, kept for ever. Null with what is wrong in `problem`.
  virtual const Lookup* table(std::string_view key, std::string_view letters, std::string& problem) = 0;
};

}  // namespace fase::core
