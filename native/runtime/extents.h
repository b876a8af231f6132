// A set of addresses as disjoint, ascending extents.
#pragma once
#include <map>

#include "core/types.h"

namespace fase::runtime {

class ExtentSet {
 public:
  bool contains(core::Address a) const {
    auto after = extents_.upper_bound(a);
    return after != extents_.begin() && a < std::prev(after)->second;
  }

  void add(core::Extent e) {
    if (e.size() == 0) return;
    auto at = extents_.upper_bound(e.begin);
    if (at != extents_.begin() && std::prev(at)->second >= e.begin) --at;
    while (at != extents_.end() && at->first <= e.end) {
      e.begin = at->first < e.begin ? at->first : e.begin;
      e.end = at->second > e.end ? at->second : e.end;
      at = extents_.erase(at);
    }
    extents_.emplace(e.begin, e.end);
  }

  void remove(core::Extent e) {
    auto at = extents_.upper_bound(e.begin);
    if (at != extents_.begin()) --at;
    while (at != extents_.end() && at->first < e.end) {
      core::Extent old{at->first, at->second};
      if (old.end <= e.begin) {
        ++at;
        continue;
      }
      at = extents_.erase(at);
      if (old.begin < e.begin) extents_.emplace(old.begin, e.begin);
      if (old.end > e.end) extents_.emplace(e.end, old.end);
    }
  }

 private:
  std::map<core::Address, core::Address> extents_;  // begin -> end
};

}  // namespace fase::runtime
