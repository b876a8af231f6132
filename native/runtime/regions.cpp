// Compiled regions: made on first entry, entered through slots, found again by address.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/decode/decode.h"
#include "runtime/engine.h"
#include "runtime/views.h"

namespace fase::runtime {
namespace {

constexpr std::size_t kCodeRoom = 1 << 20;  // an arena with less left is full
constexpr std::size_t kLocated = 8;
constexpr core::Address kReach = (core::Address{1} << 31) - (1 << 16);

std::vector<std::uint8_t> bytes_of(const core::CodeView& code, const std::vector<core::Extent>& extents) {
  std::vector<std::uint8_t> bytes;
  for (core::Extent e : extents) {
    std::size_t had = bytes.size();
    bytes.resize(had + e.size());
    bytes.resize(had + code.read(e.begin, bytes.data() + had, e.size()));
  }
  return bytes;
}

/// Pages that `extents` lie on, ascending, once each.
std::vector<core::Address> pages_of(const std::vector<core::Extent>& extents) {
  std::vector<core::Address> pages;
  for (core::Extent e : extents) {
    for (core::Address p = sys::page_of(e.begin); p < e.end; p += sys::kPage) pages.push_back(p);
  }
  std::sort(pages.begin(), pages.end());
  pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
  return pages;
}

}  // namespace

core::Extent Engine::code_bounds(core::Address a) const {
  const Range* range = watch_.find(a);
  return range != nullptr ? range->extent : core::Extent{a, a};
}

core::Extent Engine::neighbourhood(core::Address a) const {
  core::Extent hull = code_bounds(a);
  Module* module = const_cast<Modules&>(modules_).at(a);
  if (module == nullptr) return hull;
  // All of the module: its code refers to its data by RIP-relative operands. A module of more than 1 GiB gets what its code segment needs.
  core::Extent whole = hull;
  for (const Segment& segment : module->segments) {
    whole.begin = std::min(whole.begin, segment.extent.begin);
    whole.end = std::max(whole.end, segment.extent.end);
  }
  return whole.size() < (core::Address{1} << 30) ? whole : hull;
}

void Engine::set_slot(const SiteEntry& site, core::Address target) const {
  std::atomic_ref<core::Address>(*reinterpret_cast<core::Address*>(site.slot())).store(target, std::memory_order_release);
}

void Engine::reset_slot(SiteId id) const {
  const SiteEntry& site = sites_[id];
  if (site.slot() != 0) set_slot(site, lazy_.begin + id);
}

core::Address Engine::enter(core::Address lazy) {
  auto id = static_cast<SiteId>(lazy - lazy_.begin);
  FASE_ASSERT(id < sites_.size());
  record_.header().faults += 1;
  SiteEntry& site = sites_[id];
  if (!site.alive || site.untouchable || stopped_) return site.at;  // dropped after the jump was taken: run what is there now
  const Region* region = compile(id);
  if (region == nullptr) {
    leave_native(site);
    return site.at;
  }
  set_slot(site, region->code);
  return region->code;
}

std::uint32_t Engine::mode_of(const SiteEntry& site) const {
  std::uint32_t own = functions_[site.function].verdict.mode;
  return own != kNoRule ? own : mode_;
}

const Region* Engine::compile(SiteId id) {
  std::uint32_t mode_number = mode_of(sites_[id]);
  Mode& mode = modes_[mode_number];
  if (auto known = mode.regions.find(id); known != mode.regions.end()) {
    Region& region = regions_[known->second];
    if (region.valid) return &region;
    if (still_true(region)) {
      region.valid = true;
      depend(known->second);
      return &region;
    }
  }
  Stopwatch watch(record_);
  core::Extent served = neighbourhood(sites_[id].at);
  std::uint32_t first_segment = record_.next_segment();
  for (int attempt = 0; attempt < 2; ++attempt) {
    Arena& arena = arenas_.near(served, kCodeRoom);
    core::Translation made = translate_into(id, mode, arena.code_cursor(), arena.code_space(), first_segment, false);
    if (made.status == core::TranslateStatus::unreachable) {
      // The first instruction has a RIP-relative operand far away: bring the arena between code and operand.
      core::Insn insn;
      std::uint8_t bytes[core::kMaxInstruction];
      std::size_t n = GuestCode(*this).read(sites_[id].at, bytes, sizeof bytes);
      if (!core::decode(bytes, n, sites_[id].at, insn) || !insn.rip_relative()) return nullptr;
      auto operand = static_cast<core::Address>(insn.memory.disp);
      served = {std::min(sites_[id].at, operand), std::max(sites_[id].at, operand) + 64};
      if (served.size() > kReach) return nullptr;
      continue;
    }
    if (made.status != core::TranslateStatus::ok) return nullptr;
    core::Address code = arena.code_cursor();
    arena.commit_code(made.size);
    const SiteEntry& site = sites_[id];
    Module* module = modules_.at(site.at);
    std::uint32_t module_index = module != nullptr ? record_.module_index(module->path) : 0;
    for (const core::Segment& s : made.segments) {
      record_.add_segment({site.at, module_index, mode.index, s.emulated, s.excluded, s.fp64, s.instructions,
                           module != nullptr ? site.at - module->bias : 0, site.function, dot_index(mode), s.dots_emulated, s.dots, s.conversions,
                           s.fp64_emulated, s.lanes, s.chunked, s.bounded, s.unbounded});
    }
    functions_.list(site.function, record_.path());
    Region region;
    region.site = id;
    region.mode = mode_number;
    region.code = code;
    region.size = static_cast<std::uint32_t>(made.size);
    region.first_segment = first_segment;
    region.guest = std::move(made.guest);
    remember(std::move(region));
    return &regions_.back();
  }
  return nullptr;
}

core::Translation Engine::translate_into(SiteId id, const Mode& mode, core::Address at, std::span<std::uint8_t> out, std::uint32_t first_segment,
                                         bool marks) const {
  GuestCode code(*this);
  Treatments treatments(*this, mode.policy);
  core::Request request;
  request.code = &code;
  request.policy = &treatments;
  request.entry = sites_[id].at;
  request.bounds = code_bounds(request.entry);
  // Rules belong to functions: with rules, a region stays in its own.
  const Policy& policy = policies_[mode.policy].said;
  if (!policy.operator_rules.empty() && sites_[id].function != 0) request.bounds = functions_[sites_[id].function].extent;
  request.op = &mode.op;
  if (policy.dots != Policy::Dots::native) request.dot = policy.dots == Policy::Dots::own ? &policy.dot_op : &mode.op;
  request.stream = mode.stream;
  request.machine = machine_;
  request.scratch = scratch_;
  request.limits = options_.limits;
  request.at = at;
  request.out = out;
  request.first_counter = first_segment;
  request.marks = marks;
  return core::translate(request);
}

bool Engine::still_true(const Region& region) const {
  return bytes_of(GuestCode(*this), region.guest) == region.guest_bytes && treatments_in(region.guest) == region.treatments;
}

std::uint64_t Engine::treatments_in(const std::vector<core::Extent>& guest) const {
  std::uint64_t digest = 0xcbf29ce484222325U;  // FNV-1a
  for (core::Extent e : guest) {
    for (core::Address page = sys::page_of(e.begin); page < e.end; page += sys::kPage) {
      for (SiteId id : sites_.in_page(page)) {
        const SiteEntry& site = sites_[id];
        if (!site.alive || !e.contains(site.at)) continue;
        digest = (digest ^ site.at ^ static_cast<std::uint64_t>(site.treatment()) << 56) * 0x100000001b3U;
      }
    }
  }
  return digest;
}

void Engine::remember(Region region) {
  region.guest_bytes = bytes_of(GuestCode(*this), region.guest);
  region.treatments = treatments_in(region.guest);
  auto index = static_cast<std::uint32_t>(regions_.size());
  auto place =
      std::upper_bound(by_code_.begin(), by_code_.end(), region.code, [this](core::Address a, std::uint32_t r) { return a < regions_[r].code; });
  by_code_.insert(place, index);
  modes_[region.mode].regions[region.site] = index;
  record_.header().regions += 1;
  record_.header().code_bytes += region.size;
  regions_.push_back(std::move(region));
  depend(index);
}

void Engine::depend(std::uint32_t index) {
  for (core::Address page : pages_of(regions_[index].guest)) {
    auto& list = depending_[page];
    if (std::find(list.begin(), list.end(), index) == list.end()) list.push_back(index);
    const Range* range = watch_.find(page);
    if (list.size() == 1 && range != nullptr && range->writable() && !range->is_open(page)) settle(page);
  }
}

bool Engine::locate_thunk(core::Address a, GuestPoint& out) const {
  for (SiteId id = 0; id < sites_.size(); ++id) {
    if (sites_[id].has_thunk && a - sites_[id].thunk() < 8) {
      out.state.rip = sites_[id].at;
      return true;
    }
  }
  return false;
}

bool Engine::locate(core::Address a, GuestPoint& out) {
  auto after = std::upper_bound(by_code_.begin(), by_code_.end(), a, [this](core::Address x, std::uint32_t r) { return x < regions_[r].code; });
  bool inside = after != by_code_.begin() && a < regions_[*std::prev(after)].code + regions_[*std::prev(after)].size;
  if (!inside) return locate_thunk(a, out);
  const core::Translation* translation = translation_of(*std::prev(after));
  if (translation == nullptr) return false;
  const Region& region = regions_[*std::prev(after)];
  const Mode& mode = modes_[region.mode];
  out = {core::guest_state(*translation, static_cast<std::uint32_t>(a - region.code)), mode.index, dot_index(mode)};
  return true;
}

/// A region's marks, which take as long to make as the region. Some are kept: a profiler interrupts the same few loops thousands of times a second.
/// Null where the guest code has changed under the region: nothing true can be said.
const core::Translation* Engine::translation_of(std::uint32_t region_index) {
  auto known = std::find_if(located_.begin(), located_.end(), [&](const Located& l) { return l.region == region_index; });
  if (known == located_.end()) {
    const Region& region = regions_[region_index];
    std::vector<std::uint8_t> again(region.size + core::kMaxInstruction);
    core::Translation made = translate_into(region.site, modes_[region.mode], region.code, again, region.first_segment, true);
    bool equal = made.status == core::TranslateStatus::ok && made.size == region.size &&
                 std::memcmp(again.data(), reinterpret_cast<const void*>(region.code), made.size) == 0;
    if (!equal) return nullptr;
    if (located_.size() == kLocated) located_.pop_back();
    located_.push_back({region_index, std::move(made)});
    known = std::prev(located_.end());
  }
  std::rotate(located_.begin(), known, std::next(known));
  return &located_.front().translation;
}

}  // namespace fase::runtime
