#include "runtime/sites.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <ranges>

#include "core/decode/decode.h"
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
  if (next_ < count_ && (*this)[next_].at == a && (*this)[next_].alive) return &(*this)[next_++];
  meet(sys::page_of(a));
  return met(a);
}

SiteEntry* Sites::met(core::Address a) {
  const PageSites page = met_in_page(a);
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

void Sites::expect(core::Address page, std::span<const SiteEntry> sites) {
  if (sites.empty()) return;
  Group& group = expected_[page].emplace_back(Group{sites.front().function, {}});
  group.sites.reserve(sites.size());
  for (const SiteEntry& s : sites) {
    const auto bits = [](auto value) { return static_cast<std::uint32_t>(value); };
    group.sites.push_back({bits(s.at - page), bits(s.length), bits(s.fp64), bits(s.bf16), bits(s.scope()), bits(s.reason())});
  }
}

void Sites::meet(core::Address page) {
  const auto node = expected_.extract(page);
  if (node.empty()) return;
  for (const Group& group : node.mapped()) {
    for (const Expected& site : group.sites) {
      const core::Address at = page + site.offset;
      SiteEntry* dead = met(at);
      SiteEntry& entry = dead != nullptr ? *dead : add(at);
      entry.length = site.length;
      entry.fp64 = site.fp64;
      entry.bf16 = static_cast<core::Bf16>(site.bf16);
      entry.alive = true;
      entry.untouchable = false;
      entry.function = group.function;
      entry.set_scope(static_cast<abi::Reason>(site.scope));
      entry.set_reason(static_cast<abi::Reason>(site.reason));
      const auto* code = reinterpret_cast<const std::uint8_t*>(at);
      core::Insn insn;
      FASE_ASSERT(core::decode(code, site.length, at, insn) && insn.length == site.length && insn.is_site());  // what discovery saw
      std::memcpy(entry.original, code, entry.patch_size());
    }
  }
}

void Sites::meet_all() {
  while (!expected_.empty()) meet(expected_.begin()->first);
}

PageSites Sites::in_page(core::Address a) {
  meet(sys::page_of(a));
  return met_in_page(a);
}

PageSites Sites::met_in_page(core::Address a) const {
  auto it = by_page_.find(sys::page_of(a));
  return it == by_page_.end() ? PageSites() : PageSites(it->second);
}

void Sites::overlay(core::Address at, std::uint8_t* out, std::size_t n) const {
  constexpr std::size_t kLongestPatch = sizeof(SiteEntry::original);
  core::Address from = at - (kLongestPatch - 1);
  for (core::Address page = sys::page_of(from); page < at + n; page += sys::kPage) {
    const PageSites ids = met_in_page(page);
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
