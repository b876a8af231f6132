#include "runtime/sites.h"

#include <algorithm>

#include "runtime/system.h"

namespace fase::runtime {

SiteEntry* Sites::find(core::Address a) {
  auto it = by_address_.find(a);
  return it == by_address_.end() ? nullptr : &sites_[it->second];
}

SiteEntry& Sites::add(core::Address a) {
  auto id = static_cast<SiteId>(sites_.size());
  sites_.emplace_back().at = a;
  by_address_.emplace(a, id);
  auto& page = by_page_[sys::page_of(a)];
  auto place = std::lower_bound(page.begin(), page.end(), a, [this](SiteId s, core::Address x) { return sites_[s].at < x; });
  page.insert(place, id);
  return sites_[id];
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
    auto first = std::lower_bound(ids.begin(), ids.end(), from, [this](SiteId s, core::Address x) { return sites_[s].at < x; });
    for (auto it = first; it != ids.end() && sites_[*it].at < at + n; ++it) {
      const SiteEntry& site = sites_[*it];
      if (!site.patched) continue;
      for (std::size_t i = 0; i < site.patch_size(); ++i) {
        core::Address a = site.at + i;
        if (a >= at && a < at + n) out[a - at] = site.original[i];
      }
    }
  }
}

}  // namespace fase::runtime
