#include "runtime/engine.h"

#include <algorithm>
#include <atomic>

#include "runtime/blocked.h"
#include "runtime/mappings.h"
#include "runtime/thread.h"

namespace fase::runtime {
namespace {

constexpr std::size_t kMostSites = std::size_t{1} << 26;

core::Extent reserve_lazy_window() {
  long p = sys::map_far(kMostSites, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  if (sys::failed(p)) die(Line() << "cannot reserve address space");
  return {static_cast<core::Address>(p), static_cast<core::Address>(p) + kMostSites};
}

}  // namespace

Engine::Engine(Options options, Record& record, Control& control, core::Machine machine)
    : options_(std::move(options)), record_(record), control_(control), machine_(machine), scratch_(scratch_layout()), lazy_(reserve_lazy_window()) {
  record_.header().isa = machine_.emit_avx512 ? 1 : 0;
  faults_blocked_ = others_block_faults();
  set_policy(options_.policy, options_.mode, options_.op);
}

void Engine::refresh_modules(std::span<const LoadedModule> now) {
  if (stopped_) return;
  Modules::Change change = modules_.refresh(now);
  for (const auto& module : change.removed) {
    for (const Segment& segment : module->segments) {
      if (segment.executable) unwatch(segment.extent, false);
    }
  }
  for (Module* module : change.added) {
    if (module->trusted) continue;
    for (const Segment& segment : module->segments) {
      if (!segment.executable) continue;
      int protection = PROT_READ | PROT_EXEC | (segment.writable ? PROT_WRITE : 0);
      unwatch(segment.extent, false);
      arm(segment.extent, protection);
    }
  }
}

void Engine::adopt_mappings() {
  // Two steps: what the visitor allocates could change the list while it is read.
  std::vector<Mapping> found;
  found.reserve(4096);
  auto visit = [](const Mapping& mapping, void* data) {
    auto& list = *static_cast<std::vector<Mapping>*>(data);
    if (list.size() < list.capacity()) list.push_back(mapping);
  };
  for_each_mapping(visit, &found);
  for (const Mapping& mapping : found) {
    bool code = (mapping.protection & PROT_EXEC) != 0 && !mapping.special;
    if (!code || modules_.at(mapping.extent.begin) != nullptr || arenas_.contains(mapping.extent.begin) || watch_.overlaps(mapping.extent)) continue;
    if (mapping.shared) {
      record_.note("an executable shared mapping runs without emulation");
      continue;
    }
    int armed = (mapping.protection & ~PROT_EXEC) | PROT_READ;
    if (!sys::failed(sys::protect(mapping.extent.begin, mapping.extent.size(), armed))) watch(mapping.extent, mapping.protection);
  }
}

void Engine::watch(core::Extent extent, int protection) { watch_.add(extent, protection); }

void Engine::unwatch(core::Extent extent, bool restore) {
  if (!watch_.overlaps(extent)) return;
  for (core::Address page = extent.begin; page < extent.end; page += sys::kPage) {
    Range* range = watch_.find(page);
    if (range == nullptr) continue;
    sites_.forget(page);
    bool touched = !sites_.met_in_page(page).empty() || depending_.contains(page) || range->is_open(page);
    if (touched) drop_page(page, restore && is_patched(page));  // a page without patches needs nothing, not even for a moment
  }
  std::erase_if(analysed_, [extent](core::Address a) { return extent.contains(a); });
  watch_.remove(extent);
}

int Engine::protection_of(core::Extent extent) const {
  const Range* range = watch_.find(extent.begin);
  return range != nullptr ? range->protection : 0;
}

std::uint32_t Engine::mode_number(std::uint32_t policy, std::string_view name, const core::Operator& op) {
  for (std::uint32_t i = 0; i < modes_.size(); ++i) {
    if (modes_[i].policy == policy && modes_[i].name == name && modes_[i].op == op) return i;
  }
  modes_.push_back({std::string(name), op, policy, record_.mode_index(name), op.is_stochastic() ? stream_of(op.seed) : 0, {}});
  return static_cast<std::uint32_t>(modes_.size() - 1);
}

std::uint32_t Engine::policy_number(const Policy& policy) {
  for (std::uint32_t i = 0; i < policies_.size(); ++i) {
    if (policies_[i].said == policy) return i;
  }
  auto number = static_cast<std::uint32_t>(policies_.size());
  KnownPolicy& known = policies_.emplace_back(KnownPolicy{policy, {}, 0});
  if (policy.dots == Policy::Dots::own) known.dot_index = record_.mode_index(policy.dot_mode);
  for (const OperatorRule& rule : policy.operator_rules) {
    known.rule_modes.push_back(rule.follow ? kNoRule : mode_number(number, rule.mode, rule.op));
  }
  return number;
}

void Engine::set_mode(std::string_view name, const core::Operator& op) {
  fp64_ |= op.fp64.active;
  choose_mode(mode_number(policy_, name, op));
  point_slots();
}

void Engine::set_policy(const Policy& policy, std::string_view name, const core::Operator& op) {
  fp64_ |= op.fp64.active;
  for (const OperatorRule& rule : policy.operator_rules) fp64_ |= rule.op.fp64.active;
  policy_ = policy_number(policy);
  choose_mode(mode_number(policy_, name, op));
  for (std::uint32_t i = 0; i < functions_.size(); ++i) functions_[i].verdict = judge(i, policy_);
  sites_.meet_all();
  for (SiteId id = 0; id < sites_.size(); ++id) {
    SiteEntry& site = sites_[id];
    if (!site.alive) continue;
    recount(site, reason_of(site, functions_[site.function].verdict, policy));
  }
  point_slots();
}

void Engine::recount(SiteEntry& site, abi::Reason reason) {
  auto& counts = record_.header().sites_by_reason;
  // The child of a fork has its parent's sites, and counts only what it finds itself.
  if (std::uint64_t& before = counts[static_cast<int>(site.reason())]; before > 0) {
    before -= 1;
    counts[static_cast<int>(reason)] += 1;
  }
  site.set_reason(reason);
}

void Engine::choose_mode(std::uint32_t number) {
  mode_ = number;
  record_.header().mode_now = modes_[number].index;
}

/// Lets every site's slot point to what holds for it now: its region, where there is one, or the lazy window. Slots that point to a region of
/// another mode are all that can be wrong.
void Engine::point_slots() {
  const auto holds = [this](const Region& region) { return region.valid && region.mode == mode_of(sites_[region.site]); };
  for (const Region& region : regions_) {
    if (holds(region)) set_slot(sites_[region.site], region.code);
  }
  for (const Region& region : regions_) {
    const SiteEntry& site = sites_[region.site];
    if (!holds(region) && *reinterpret_cast<const core::Address*>(site.slot()) == region.code) reset_slot(region.site);
  }
}

void Engine::obey() {
  Control::Request request;
  if (!control_.take(request)) return;
  core::Operator op;
  std::string problem = parse_operator(request.operator_text, directory(), op);
  if (problem.empty()) problem = dot_problem(policy(), op);
  if (problem.empty() && must_look_again(op)) problem = "only a run that was started with --fp64 has modes of double precision";
  if (problem.empty()) problem = record_.room_problem(mode_names(policy(), request.mode));
  abi::RecordHeader& header = record_.header();
  if (problem.empty()) {
    set_mode(request.mode, op);
  } else {
    record_.note("mode '" + request.mode + "' was refused: " + problem);
    header.control_refused = request.sequence;
  }
  std::atomic_ref<std::uint64_t>(header.control_taken).store(request.sequence, std::memory_order_release);
}

void Engine::after_fork_in_child() {
  record_.renew_after_fork();
  functions_.list_again(record_.path());
}

void Engine::stop() {
  stopped_ = true;
  std::vector<Range> ranges = watch_.ranges();
  for (const Range& range : ranges) {
    unwatch(range.extent, true);
    sys::protect(range.extent.begin, range.extent.size(), range.protection);
  }
  modules_.forget();
}

void Engine::resume(std::span<const LoadedModule> now) {
  stopped_ = false;
  faults_blocked_ = others_block_faults();
  restart_streams();
  refresh_modules(now);
  adopt_mappings();
}

}  // namespace fase::runtime
