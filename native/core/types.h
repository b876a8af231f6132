// Types shared by the pure core. See ARCHITECTURE.md for the vocabulary (site, region, segment, slot).
#pragma once
#include <cstddef>
#include <cstdint>

namespace fase::core {

using Address = std::uint64_t;

/// Longest x86-64 instruction, bytes.
inline constexpr std::size_t kMaxInstruction = 15;

/// A half-open range of guest addresses.
struct Extent {
  Address begin = 0;
  Address end = 0;
  constexpr bool contains(Address a) const { return a >= begin && a < end; }
  constexpr std::size_t size() const { return end - begin; }
};

/// Guest code as the program wrote it, before any of our patches.
class CodeView {
 public:
  virtual ~CodeView() = default;
  /// Copies up to `n` bytes at `at` to `out`; returns how many were readable (0 when none).
  virtual std::size_t read(Address at, std::uint8_t* out, std::size_t n) const = 0;
};

/// The CPU's own BF16 instructions, which are sites like FMAs.
enum class Bf16 : std::uint8_t {
  none,
  dot,         // VDPBF16PS: two multiply-adds a lane
  conversion,  // VCVTNEPS2BF16, VCVTNE2PS2BF16
};

/// What happens to one FMA or BF16 instruction.
enum class Treatment : std::uint8_t {
  emulate,    // single precision (or a dot product of BF16) and in scope: runs under the operator
  exclude,    // single precision, out of scope (transcendental, policy): runs as it is, counted
  fp64,       // double precision: runs as it is, counted
  emulate64,  // double precision and in scope: runs under the operator's double-precision part, as it is where there is none
  bf16,       // BF16: runs as it is, counted
};

/// Who decides the treatment of a site (scope, policy); core asks while it builds a region.
class SitePolicy {
 public:
  virtual ~SitePolicy() = default;
  virtual Treatment treatment(Address site, bool fp64) const = 0;
  virtual Treatment bf16_treatment(Address site, Bf16 kind) const = 0;
};

}  // namespace fase::core
