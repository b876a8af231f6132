// Memory near guest code: slots, thunks and regions must lie within rel32 of the code they serve.
#pragma once
#include <atomic>
#include <cstdint>
#include <span>

#include "core/types.h"

namespace fase::runtime {

/// One reserved stretch of address space. Pages are touched as they are used; the memory is writable and executable, and only bytes that no
/// slot points to yet are ever written.
class Arena {
 public:
  explicit Arena(core::Address base) : base_(base), slots_(base), code_(base + kCodeAt) {}

  static constexpr std::uint64_t kSlots = 1 << 19;
  static constexpr std::uint64_t kThunksAt = kSlots * 8;
  static constexpr std::uint64_t kCodeAt = kThunksAt + kSlots * 8;
  static constexpr std::uint64_t kSize = 128U << 20;

  core::Extent extent() const { return {base_, base_ + kSize}; }
  core::Extent code_extent() const { return {base_ + kCodeAt, base_ + kSize}; }
  bool has_slot() const { return slots_ < base_ + kThunksAt; }
  core::Address take_slot();
  /// Every slot has room for a thunk, `jmp [rip+slot]`.
  static core::Address thunk_of(core::Address slot) { return slot + kThunksAt; }
  /// Writes it.
  static void make_thunk(core::Address slot);
  core::Address code_cursor() const { return code_; }
  std::span<std::uint8_t> code_space() const;
  void commit_code(std::size_t size);

 private:
  core::Address base_, slots_, code_;
};

class Arenas {
 public:
  /// An arena from which all of `served` is reachable both ways, with a free slot and at least `code` bytes of code space; made when there is none.
  Arena& near(core::Extent served, std::size_t code);
  /// Takes no lock: signal handlers ask.
  bool contains(core::Address a) const;

 private:
  Arena& create(core::Extent served);
  static constexpr std::uint32_t kMost = 1024;
  Arena* arenas_[kMost] = {};  // only ever grows; published by the count
  std::atomic<std::uint32_t> count_{0};
};

}  // namespace fase::runtime
