// Function extents from the unwind table, through the binary-search table in .eh_frame_hdr: only entries near a query are touched.
#pragma once
#include <vector>

#include "core/discover/discover.h"
#include "core/elf/image.h"

namespace fase::core {

/// All addresses are link addresses.
class UnwindTable {
 public:
  /// Empty when there is no .eh_frame_hdr, or one of another kind than the one every linker writes.
  static UnwindTable parse(const ElfImage& image);

  std::size_t size() const { return entries_.size() / kEntry; }
  /// Appends the functions that overlap `range`, ascending.
  void functions_in(const ElfImage& image, Extent range, std::vector<Function>& out) const;

 private:
  static constexpr std::size_t kEntry = 8;  // two signed 32-bit offsets from the header's address: code, FDE

  Address code_at(std::size_t i) const;
  Address fde_at(std::size_t i) const;

  Bytes entries_;
  Address header_ = 0;
};

}  // namespace fase::core
