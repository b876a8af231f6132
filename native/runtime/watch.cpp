#include "runtime/watch.h"

#include <algorithm>

#include "runtime/system.h"

namespace fase::runtime {

bool Range::writable() const { return (protection & PROT_WRITE) != 0; }
int Range::armed_protection() const { return PROT_READ | (protection & PROT_WRITE); }
int Range::open_protection() const { return PROT_READ | PROT_EXEC; }

namespace {

Range part_of(const Range& whole, core::Extent extent) {
  Range part;
  part.extent = extent;
  part.protection = whole.protection;
  auto first = whole.open.begin() + static_cast<long>((extent.begin - whole.extent.begin) >> 12);
  part.open.assign(first, first + static_cast<long>(extent.size() >> 12));
  return part;
}

}  // namespace

void Watch::add(core::Extent extent, int protection) {
  Range range;
  range.extent = extent;
  range.protection = protection;
  range.open.assign(extent.size() >> 12, false);
  auto place = std::upper_bound(ranges_.begin(), ranges_.end(), extent.begin, [](core::Address a, const Range& r) { return a < r.extent.begin; });
  ranges_.insert(place, std::move(range));
}

void Watch::remove(core::Extent extent) {
  std::vector<Range> kept;
  kept.reserve(ranges_.size() + 1);
  for (Range& range : ranges_) {
    if (range.extent.end <= extent.begin || range.extent.begin >= extent.end) {
      kept.push_back(std::move(range));
      continue;
    }
    if (range.extent.begin < extent.begin) kept.push_back(part_of(range, {range.extent.begin, extent.begin}));
    if (range.extent.end > extent.end) kept.push_back(part_of(range, {extent.end, range.extent.end}));
  }
  ranges_ = std::move(kept);
}

Range* Watch::find(core::Address a) {
  auto after = std::upper_bound(ranges_.begin(), ranges_.end(), a, [](core::Address x, const Range& r) { return x < r.extent.begin; });
  if (after == ranges_.begin()) return nullptr;
  Range& range = *std::prev(after);
  return range.extent.contains(a) ? &range : nullptr;
}

bool Watch::overlaps(core::Extent extent) const {
  for (const Range& range : ranges_) {
    if (range.extent.begin < extent.end && extent.begin < range.extent.end) return true;
  }
  return false;
}

}  // namespace fase::runtime
