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
  fp64_ = options_.op.fp64.active;
  faults_blocked_ = others_block_faults();
  for (const OperatorRule& rule : options_.operator_rules) {
    fp64_ |= rule.op.fp64.active;
    const std::string& name = rule.follow ? options_.mode : rule.mode;
    add_mode(name, rule.op);
  }
  functions_[0].rule = rule_for("", nullptr);
  add_mode(options_.mode, options_.op);
  if (options_.dots == Options::Dots::own) dot_index_ = record_.mode_index(options_.dot_mode);
  choose_mode(static_cast<std::uint32_t>(modes_.size() - 1));
}

void Engine::add_mode(std::string_view name, const core::Operator& op) {
  modes_.push_back({std::string(name), op, record_.mode_index(name), op.is_stochastic() ? stream_of(op.seed) : 0, {}});
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
    bool touched = !sites_.in_page(page).empty() || depending_.contains(page) || range->state(page) == PageState::open;
    if (touched) drop_page(page, restore && is_patched(page));  // a page without patches needs nothing, not even for a moment
  }
  std::erase_if(analysed_, [extent](core::Address a) { return extent.contains(a); });
  watch_.remove(extent);
}

int Engine::protection_of(core::Extent extent) const {
  const Range* range = watch_.find(extent.begin);
  return range != nullptr ? range->protection : 0;
}

void Engine::set_mode(std::string_view name, const core::Operator& op) {
  auto same = [&](const Mode& m) { return m.name == name && m.op == op; };
  auto rules = static_cast<long>(options_.operator_rules.size());
  auto known = std::find_if(modes_.begin() + rules, modes_.end(), same);
  if (known == modes_.end()) {
    add_mode(name, op);
    known = std::prev(modes_.end());
  }
  choose_mode(static_cast<std::uint32_t>(known - modes_.begin()));
}

void Engine::choose_mode(std::uint32_t number) {
  mode_ = number;
  const Mode& mode = modes_[number];
  record_.header().mode_now = mode.index;
  for (SiteId id = 0; id < sites_.size(); ++id) {
    const SiteEntry& site = sites_[id];
    if (!site.alive || site.slot == 0 || functions_[site.function].rule != kNoRule) continue;
    std::uint32_t region = id < mode.regions.size() ? mode.regions[id] : 0;
    bool ready = region != 0 && regions_[region - 1].valid;
    set_slot(site, ready ? regions_[region - 1].code : lazy_.begin + id);
  }
}

void Engine::obey() {
  Control::Request request;
  if (!control_.take(request)) return;
  core::Operator op;
  std::string problem = parse_operator(request.operator_text, directory(), op);
  if (problem.empty()) problem = dot_problem(options_, op);
  if (problem.empty() && op.fp64.active && !fp64_) problem = "only a run that was started with --fp64 has modes of double precision";
  if (problem.empty() && !record_.has_room_for_mode(request.mode)) problem = "too many different modes in one process";
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

void Engine::resume(std::string_view name, const core::Operator& op, std::span<const LoadedModule> now) {
  stopped_ = false;
  faults_blocked_ = others_block_faults();
  restart_streams();
  fp64_ |= op.fp64.active;
  set_mode(name, op);
  refresh_modules(now);
  adopt_mappings();
}

}  // namespace fase::runtime
