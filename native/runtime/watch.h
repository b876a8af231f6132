// Executable memory under watch: what the program believes its protection to be, and what we let the hardware see.
//
// A page of a range is `armed` (not executable: the first fetch faults and we look at it) or `open` (executable, every FMA in it patched). A page
// is never writable and executable at once: an open page the program may write faults on the write and becomes armed again.
#pragma once
#include <cstdint>
#include <vector>

#include "core/types.h"

namespace fase::runtime {

struct Range {
  core::Extent extent;     // page aligned
  int protection = 0;      // as the program asked: PROT_*, with PROT_EXEC
  std::vector<bool> open;  // by page

  bool is_open(core::Address a) const { return open[(a - extent.begin) >> 12]; }
  void set_open(core::Address a, bool now) { open[(a - extent.begin) >> 12] = now; }
  int armed_protection() const;
  int open_protection() const;
  bool writable() const;
};

class Watch {
 public:
  /// Starts watching `extent` (armed; the caller sets the hardware's protection). Nothing in it may be watched already.
  void add(core::Extent extent, int protection);
  /// Stops watching what overlaps `extent`.
  void remove(core::Extent extent);
  Range* find(core::Address a);
  const Range* find(core::Address a) const { return const_cast<Watch*>(this)->find(a); }
  bool overlaps(core::Extent extent) const;
  const std::vector<Range>& ranges() const { return ranges_; }
  std::vector<Range>& ranges() { return ranges_; }

 private:
  std::vector<Range> ranges_;  // ascending, disjoint
};

}  // namespace fase::runtime
