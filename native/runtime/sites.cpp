#include "runtime/sites.h"

#include <algorithm>
#include <memory>

#include "runtime/system.h"

namespace fase::runtime {

std::vector<SiteId>::const_iterator Sites::first_from(const std::vector<SiteId>& page, core::Address a) const {
  return std::lower_bound(page.begin(), page.end(), a, [this](SiteId s, core::Address x) { return (*this)[s].at < x; });
}

SiteEntry* Sites::find(core::Address a) {
  const std::vector<SiteId>& page = in_page(a);
  auto it = first_from(page, a);
  return it == page.end() || (*this)[*it].at != a ? nullptr : &(*this)[*it];
}

SiteEntry& Sites::add(core::Address a) {
  auto id = static_cast<SiteId>(count_);
  if (id % kBlock == 0) blocks_.push_back(std::allocator<SiteEntry>().allocate(kBlock));
  ++count_;
  SiteEntry& entry = *std::construct_at(&(*this)[id]);
  entry.at = a;
  auto& page = by_page_[sys::page_of(a)];
  page.insert(first_from(page, a), id);
  return entry;
}

const std::vector<SiteId>& Sites::in_page(core::Address a) const {
  static const std::vector<SiteId> none;
  auto it = by_page_.find(sys::page_of(a));
  return it == by_page_.end() ? none : it->second;
}

void Sites::overlay(core::Address at, std::uint8_t* out, std::size_t n) const {
  constexpr std::size_t kLongestPatch = sizeof(SiteEntry::original);
  core::Address from = at - (kLongestPatch - 1);
  for (core::Address page = sys::page_of(from); page < at + n; page += sys::kPage) {
    const auto& ids = in_page(page);
    for (auto it = first_from(ids, from); it != ids.end() && (*this)[*it].at < at + n; ++it) {
      const SiteEntry& site = (*this)[*it];
      if (!site.patched) continue;
      for (std::size_t i = 0; i < site.patch_size(); ++i) {
        core::Address a = site.at + i;
        if (a >= at && a < at + n) out[a - at] = site.original[i];
      }
    }
  }
}

}  // namespace fase::runtime
