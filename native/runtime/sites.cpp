#include "runtime/sites.h"

#include <algorithm>
#include <memory>
#include <ranges>

#include "runtime/system.h"

namespace fase::runtime {

PageSites::Iterator Sites::first_from(const PageSites& page, core::Address a) const {
  const std::span<const PageSites::Run> runs = page.runs();
  const PageSites::Run* end = runs.data() + runs.size();
  const auto run = std::lower_bound(runs.begin(), runs.end(), a, [this](PageSites::Run r, core::Address x) { return (*this)[r.end - 1].at < x; });
  if (run == runs.end()) return page.end();
  const auto ids = std::views::iota(run->first, run->end);
  const SiteId id = *std::lower_bound(ids.begin(), ids.end(), a, [this](SiteId s, core::Address x) { return (*this)[s].at < x; });
  return {&*run, end, id};
}

SiteEntry* Sites::find(core::Address a) {
  if (next_ < count_ && (*this)[next_].at == a) return &(*this)[next_++];
  const PageSites page = in_page(a);
  const auto it = first_from(page, a);
  if (it == page.end() || (*this)[*it].at != a) return nullptr;
  next_ = *it + 1;
  return &(*this)[*it];
}

SiteEntry& Sites::add(core::Address a) {
  auto id = static_cast<SiteId>(count_);
  if (id % kBlock == 0) blocks_.push_back(std::allocator<SiteEntry>().allocate(kBlock));
  ++count_;
  SiteEntry& entry = *std::construct_at(&(*this)[id]);
  entry.at = a;
  std::vector<PageSites::Run>& runs = by_page_[sys::page_of(a)];
  const auto next = first_from(PageSites(runs), a);
  auto place = runs.begin() + (next.run() - runs.data());
  if (place != runs.end() && *next != place->first) {  // it falls into a run
    const PageSites::Run before{place->first, *next};
    place->first = *next;
    place = runs.insert(place, before) + 1;
  }
  if (place != runs.begin() && std::prev(place)->end == id) std::prev(place)->end = id + 1;
  else runs.insert(place, {id, id + 1});
  return entry;
}

PageSites Sites::in_page(core::Address a) const {
  auto it = by_page_.find(sys::page_of(a));
  return it == by_page_.end() ? PageSites() : PageSites(it->second);
}

void Sites::overlay(core::Address at, std::uint8_t* out, std::size_t n) const {
  constexpr std::size_t kLongestPatch = sizeof(SiteEntry::original);
  core::Address from = at - (kLongestPatch - 1);
  for (core::Address page = sys::page_of(from); page < at + n; page += sys::kPage) {
    const PageSites ids = in_page(page);
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
