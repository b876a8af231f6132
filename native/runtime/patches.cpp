// Pages and the bytes in them: opening, patching, undoing.
#include <algorithm>
#include <cstring>

#include "runtime/engine.h"
#include "runtime/mappings.h"

namespace fase::runtime {
namespace {

void protect_or_die(core::Address begin, std::size_t size, int protection) {
  long result = sys::protect(begin, size, protection);
  if (sys::failed(result)) {
    die(Line() << "cannot change the protection of code at " << Line().hex(begin).view() << " (errno " << static_cast<std::uint64_t>(-result)
               << "); is vm.max_map_count exhausted?");
  }
}

constexpr std::size_t kSmallCode = 4 << 20;

bool straddles(const SiteEntry& site) { return sys::page_of(site.at) != sys::page_of(site.at + site.patch_size() - 1); }

void write_jump(std::uint8_t* p, std::initializer_list<std::uint8_t> opcode, core::Address target) {
  core::Address next = reinterpret_cast<core::Address>(p) + opcode.size() + 4;
  auto distance = static_cast<std::int64_t>(target - next);
  FASE_ASSERT(distance == static_cast<std::int32_t>(distance));
  std::int32_t displacement = static_cast<std::int32_t>(distance);
  std::copy(opcode.begin(), opcode.end(), p);
  std::memcpy(p + opcode.size(), &displacement, 4);
}

}  // namespace

/// What a thread may do at `a` by now. While stop() gives the program its code back, other threads fault on pages that are theirs a moment later.
static bool permits(core::Address a, int access) {
  struct Question {
    core::Address a;
    int access;
    bool yes;
  } question{a, access, false};
  for_each_mapping(
      [](const Mapping& mapping, void* data) {
        auto& asked = *static_cast<Question*>(data);
        if (mapping.extent.contains(asked.a)) asked.yes = (mapping.protection & asked.access) != 0;
      },
      &question);
  return question.yes;
}

bool Engine::fetch_fault(core::Address a, core::Address rip) {
  Range* range = watch_.find(a);
  if (range == nullptr) return stopped_ && permits(a, PROT_EXEC);
  record_.header().faults += 1;
  core::Address page = sys::page_of(a);
  if (range->is_open(page)) {
    settle(page);  // another thread opened it first, or holds it writable for a moment
    return true;
  }
  Stopwatch watch(record_);
  core::Address chunk = options_.chunk_pages * sys::kPage;
  core::Address first = std::max(page / chunk * chunk, range->extent.begin);
  core::Address last = std::min(page / chunk * chunk + chunk, range->extent.end);
  if (range->writable()) first = page, last = page + sys::kPage;  // code still in the making: neighbours would only fault on writes
  std::vector<bool> ready((last - first) / sys::kPage);
  for (core::Address p = first; p < last; p += sys::kPage) {
    std::size_t tail = std::min<std::size_t>(range->extent.end - (p + sys::kPage), core::kMaxInstruction);
    bool pattern = !range->is_open(p) && core::any_fma_pattern(reinterpret_cast<const std::uint8_t*>(p), sys::kPage, tail);
    if (pattern && p == page) discover_page(*range, page, rip);
    ready[(p - first) / sys::kPage] = !range->is_open(p) && (!pattern || p == page);
  }
  open_pages(*range, first, ready, page);
  return true;
}

/// Starts watching code of a module. Where a thread blocks SIGSEGV, pages of small libraries that hold no pattern stay executable all the time.
void Engine::arm(core::Extent extent, int protection) {
  std::vector<bool> plain(extent.size() / sys::kPage);
  bool spare = faults_blocked_ && extent.size() <= kSmallCode && (protection & PROT_WRITE) == 0;
  for (std::size_t i = 0; spare && i < plain.size(); ++i) {
    core::Address page = extent.begin + i * sys::kPage;
    std::size_t tail = std::min<std::size_t>(extent.end - (page + sys::kPage), core::kMaxInstruction);
    plain[i] = !core::any_fma_pattern(reinterpret_cast<const std::uint8_t*>(page), sys::kPage, tail);
  }
  for (std::size_t i = 0; i < plain.size();) {
    std::size_t end = i;
    while (end < plain.size() && !plain[end]) ++end;
    bool failed = end > i && sys::failed(sys::protect(extent.begin + i * sys::kPage, (end - i) * sys::kPage, protection & ~PROT_EXEC));
    if (failed) return;
    i = end + 1;
  }
  watch(extent, protection);
  Range* range = watch_.find(extent.begin);
  for (std::size_t i = 0; i < plain.size(); ++i)
    if (plain[i]) range->open[i] = true;
}

/// An instruction with bytes in this page is patched.
bool Engine::is_patched(core::Address page) const {
  auto patched = [&](SiteId id) { return sites_[id].patched && sites_[id].at + sites_[id].length > page; };
  const auto &own = sites_.met_in_page(page), &before = sites_.met_in_page(page - sys::kPage);
  return std::any_of(own.begin(), own.end(), patched) || std::any_of(before.begin(), before.end(), patched);
}

void Engine::open_pages(Range& range, core::Address first_page, const std::vector<bool>& ready, core::Address touched) {
  patch_page(touched);
  for (std::size_t i = 0; i < ready.size();) {
    std::size_t end = i;
    while (end < ready.size() && ready[end]) range.set_open(first_page + end++ * sys::kPage, true);
    if (end > i) protect_or_die(first_page + i * sys::kPage, (end - i) * sys::kPage, range.open_protection());
    i = end + 1;
  }
}

void Engine::patch_page(core::Address page) {
  bool writable = false;
  for (SiteId id : sites_.in_page(page)) {
    SiteEntry& site = sites_[id];
    if (!site.alive || site.patched || site.untouchable) continue;
    if (!writable) make_writable(page);
    writable = true;
    if (straddles(site)) make_writable(page + sys::kPage);
    apply_patch(id);
    if (straddles(site)) settle(page + sys::kPage);
  }
}

void Engine::apply_patch(SiteId id) {
  SiteEntry& site = sites_[id];
  if (site.slot() == 0 || (site.length < 6 && !site.has_thunk)) give_slot(id);
  auto* p = reinterpret_cast<std::uint8_t*>(site.at);
  FASE_ASSERT(std::memcmp(p, site.original, site.patch_size()) == 0);
  if (site.length >= 6) {
    write_jump(p, {0xff, 0x25}, site.slot());  // jmp [rip+slot]
  } else {
    write_jump(p, {0xe9}, site.thunk());
  }
  site.patched = true;
}

void Engine::undo_patch(SiteEntry& site) {
  std::memcpy(reinterpret_cast<void*>(site.at), site.original, site.patch_size());
  site.patched = false;
}

void Engine::give_slot(SiteId id) {
  SiteEntry& site = sites_[id];
  if (site.slot() == 0) {
    site.set_slot(arenas_.near(neighbourhood(site.at), 0).take_slot());
    reset_slot(id);
  }
  if (site.length >= 6) return;
  Arena::make_thunk(site.slot());
  site.has_thunk = true;
}

void Engine::make_writable(core::Address page) {
  // Not executable meanwhile: a thread that runs here faults and waits for the lock, so nobody sees half a patch.
  protect_or_die(page, sys::kPage, PROT_READ | PROT_WRITE);
}

void Engine::settle(core::Address page) {
  Range* range = watch_.find(page);
  FASE_ASSERT(range != nullptr);
  int protection = range->is_open(page) ? range->open_protection() : range->armed_protection();
  if (depending_.contains(page)) protection &= ~PROT_WRITE;  // regions were made from it: a write must be seen
  protect_or_die(page, sys::kPage, protection);
}

bool Engine::write_fault(core::Address a) {
  Range* range = watch_.find(a);
  if (range == nullptr) return stopped_ && permits(a, PROT_WRITE);
  if (!range->writable()) return false;
  record_.header().faults += 1;
  core::Address page = sys::page_of(a);
  if (range->is_open(page) || depending_.contains(page)) drop_page(page, true);
  settle(page);
  return true;
}

void Engine::drop_page(core::Address page, bool restore) {
  if (restore) make_writable(page);
  // A site of the page before that reaches into this one goes too: the write may change its last bytes.
  for (SiteId id : sites_.met_in_page(page - sys::kPage)) {
    if (sites_[id].alive && sites_[id].at + sites_[id].length > page && sites_[id].patched) {
      Range* before = watch_.find(page - sys::kPage);
      if (before == nullptr) break;
      if (restore) drop_page(page - sys::kPage, true);
      break;
    }
  }
  if (auto it = depending_.find(page); it != depending_.end()) {
    for (std::uint32_t index : it->second) {
      regions_[index].valid = false;
      reset_slot(regions_[index].site);
    }
    depending_.erase(it);
  }
  sites_.forget(page);
  for (SiteId id : sites_.met_in_page(page)) {
    SiteEntry& site = sites_[id];
    if (site.patched) {
      bool spills = straddles(site) && restore;
      if (spills) make_writable(page + sys::kPage);
      if (restore) undo_patch(site);
      if (spills) settle(page + sys::kPage);
      site.patched = false;
    }
    site.alive = false;
    if (site.slot() != 0) reset_slot(id);
  }
  core::Extent gone{page, page + sys::kPage};
  swept_.remove(gone);
  std::erase_if(unconfirmed_, [gone](core::Address a) { return gone.contains(a); });
  if (Range* range = watch_.find(page)) {
    range->set_open(page, false);
    if (restore) settle(page);
  }
}

void Engine::leave_native(SiteEntry& site) {
  core::Address page = sys::page_of(site.at);
  core::Address last = sys::page_of(site.at + site.patch_size() - 1);
  make_writable(page);
  if (last != page) make_writable(last);
  undo_patch(site);
  settle(page);
  if (last != page) settle(last);
  site.untouchable = true;
  recount(site, abi::Reason::unsupported);
}

}  // namespace fase::runtime
