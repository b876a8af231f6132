// First touch: which FMAs are in a page, and what is to be done with each.
#include <algorithm>
#include <cstring>

#include "core/scope/scope.h"
#include "runtime/engine.h"
#include "runtime/mappings.h"
#include "runtime/views.h"

namespace fase::runtime {
namespace {

bool covers(const std::vector<core::Extent>& extents, core::Address a) {
  return std::any_of(extents.begin(), extents.end(), [a](core::Extent e) { return e.contains(a); });
}

/// The stretch of `whole` around `a` that none of `taken` covers.
core::Extent gap_around(const std::vector<core::Extent>& taken, core::Extent whole, core::Address a) {
  for (core::Extent e : taken) {
    if (e.end <= a && e.end > whole.begin) whole.begin = e.end;
    if (e.begin > a && e.begin < whole.end) whole.end = e.begin;
  }
  return whole;
}

/// A glob over the function's name or the library's, or FUNCTION@LIBRARY: over both.
bool rule_matches(std::string_view glob, std::string_view function, std::string_view library) {
  auto at = glob.find('@');
  if (at != std::string_view::npos) return glob_matches(glob.substr(0, at), function) && glob_matches(glob.substr(at + 1), library);
  return glob_matches(glob, library) || (!function.empty() && glob_matches(glob, function));
}

/// No rule is broken: not excluded, and included when anything asks for inclusion.
bool allowed(const std::vector<Rule>& rules, std::string_view function, std::string_view library) {
  bool must_include = false, included = false;
  for (const Rule& rule : rules) {
    bool hit = rule_matches(rule.glob, function, library);
    if (!rule.include && hit) return false;
    must_include |= rule.include;
    included |= rule.include && hit;
  }
  return !must_include || included;
}

}  // namespace

void Engine::discover_page(const Range& range, core::Address page, core::Address rip) {
  core::Extent pages{page, page + sys::kPage};
  // The instruction that runs: on this page, or on the one before, straddling into it. 0: none is known.
  core::Address entry = pages.contains(rip) || (rip < page && page - rip < core::kMaxInstruction) ? rip : 0;
  if (Module* module = modules_.at(page)) {
    discover_in_module(*module, page, entry);
  } else if (!swept_.contains(entry) || has_unknown_patterns(page)) {
    discover_loose(entry, range.extent, pages, nullptr);
  }
}

/// FMA patterns in a page of JIT code that no discovery has looked at.
bool Engine::has_unknown_patterns(core::Address page) const {
  std::uint8_t bytes[sys::kPage + core::kMaxInstruction];
  std::size_t n = GuestCode(*this).read(page, bytes, sizeof bytes);
  for (std::size_t i = 0; i < sys::kPage && i < n; ++i) {
    core::Address a = page + i;
    if (core::looks_like_fma(bytes + i, n - i) && !swept_.contains(a) && !unconfirmed_.contains(a)) return true;
  }
  return false;
}

void Engine::discover_in_module(Module& module, core::Address page, core::Address rip) {
  core::Extent pages{page, page + sys::kPage};
  std::vector<core::Function> functions = module.functions().functions_in(pages);
  GuestCode code(*this);
  core::Extent read = pages;
  for (const core::Function& function : functions) {
    if (!analysed_.insert(function.extent.begin).second) continue;
    core::Discovery found = core::discover_function(code, function);
    read = {std::min(read.begin, function.extent.begin), std::max(read.end, function.extent.end)};
    std::optional<core::Symbol> symbol = module.functions().symbol_at(function.extent.begin);
    std::string_view name = symbol ? symbol->name : std::string_view();
    std::uint32_t number = 0;
    if (!found.sites.empty()) number = add_function(function.extent, name, module);
    admit(found, number, &module);
  }
  // Code in no function (assembly without symbols or unwind data), and not in a data object either.
  std::vector<core::Extent> taken = module.functions().data_in(pages);
  for (const core::Function& function : functions) taken.push_back(function.extent);
  core::Extent whole = module.segment_at(page)->extent;
  std::uint8_t bytes[sys::kPage + core::kMaxInstruction];
  std::size_t n = code.read(page, bytes, sizeof bytes);
  for (std::size_t i = 0; i < sys::kPage && i < n; ++i) {
    core::Address a = page + i;
    if (!core::looks_like_fma(bytes + i, n - i) || covers(taken, a) || sites_.find(a) != nullptr || unconfirmed_.contains(a)) continue;
    core::Extent gap = gap_around(taken, whole, a);
    discover_loose(gap.contains(rip) ? rip : 0, gap, pages, &module);
  }
  module.release_file();
  if (read.size() > kReadAtOnce) release_read(read);
}

/// Functions are read as a whole, and may be hundreds of pages long: those that the program has not come to go back to the kernel.
void Engine::release_read(core::Extent read) const {
  const Range* range = watch_.find(read.begin);
  const bool of_file = const_cast<Modules&>(modules_).at(read.begin) != nullptr;
  if (range == nullptr || range->writable() || !of_file) return;
  const core::Address end = std::min(sys::page_of(read.end), range->extent.end);
  for (core::Address at = sys::page_up(read.begin); at < end; at += sys::kPage) {
    core::Extent closed{at, at};
    while (closed.end < end && !range->is_open(closed.end)) closed.end += sys::kPage;
    if (closed.size() > 0) release_unchanged(closed);
    at = closed.end;
  }
}

void Engine::discover_loose(core::Address rip, core::Extent bounds, core::Extent pages, Module* module) {
  core::Discovery found = core::discover_from(GuestCode(*this), rip, bounds, pages);
  if (module == nullptr) {
    for (core::Extent e : found.covered) swept_.add(e);
  }
  // Rules go by function: code in none gets an unnamed one, so that a rule for its library holds for it too.
  admit(found, module != nullptr && !found.sites.empty() ? add_function(bounds, "", *module) : 0, module);
}

std::uint32_t Engine::add_function(core::Extent extent, std::string_view name, const Module& module) {
  std::uint32_t number = functions_.add({extent, std::string(name), record_.module_index(module.path), {}, false});
  functions_[number].verdict = judge(number, policy_);
  return number;
}

abi::Reason Engine::reason_of(const SiteEntry& site, const Verdict& verdict, const Policy& policy) const {
  if (site.fp64 && !fp64_) return abi::Reason::fp64;
  if (site.untouchable) return abi::Reason::unsupported;
  if (site.bf16 != core::Bf16::none && !emulates(site.bf16, policy)) return abi::Reason::bf16;
  if (!verdict.allowed) return abi::Reason::user;
  return policy.scope_all ? abi::Reason::emulated : site.scope();
}

abi::Reason Engine::reason_under(const SiteEntry& site, std::uint32_t policy) const {
  return reason_of(site, judge(site.function, policy), policies_[policy].said);
}

Verdict Engine::judge(std::uint32_t function, std::uint32_t policy) const {
  const FunctionEntry& entry = functions_[function];
  const Module* module = function == 0 ? nullptr : const_cast<Modules&>(modules_).at(entry.extent.begin);
  std::string_view library = module != nullptr ? module->name() : std::string_view();
  const KnownPolicy& known = policies_[policy];
  Verdict verdict;
  verdict.allowed = allowed(known.said.rules, entry.name, library);
  for (std::size_t i = 0; i < known.said.operator_rules.size(); ++i) {
    if (!rule_matches(known.said.operator_rules[i].glob, entry.name, library)) continue;
    verdict.mode = known.rule_modes[i];
    break;
  }
  return verdict;
}

void Engine::admit(const core::Discovery& found, std::uint32_t function_number, Module* module) {
  std::string_view function = functions_[function_number].name;
  const Verdict verdict = functions_[function_number].verdict;
  bool transcendental = false, random = false;
  std::vector<core::Address> polynomial;
  transcendental = core::is_transcendental(function, module != nullptr ? std::string_view(module->path) : std::string_view(), found.sites.size());
  random = core::is_random_generator(function);
  if (!transcendental && !random) polynomial = core::polynomial_sites(GuestCode(*this), found, Constants(*this), fp64_);
  const auto scope_of = [&](const core::Site& site) {
    if (transcendental) return abi::Reason::transcendental_symbol;
    if (std::binary_search(polynomial.begin(), polynomial.end(), site.at)) return abi::Reason::transcendental_code;
    return random ? abi::Reason::random_numbers : abi::Reason::emulated;
  };
  abi::RecordHeader& header = record_.header();
  for (auto site = found.sites.begin(); site != found.sites.end();) {
    const core::Address page = sys::page_of(site->at);
    std::vector<SiteEntry> fresh;
    for (; site != found.sites.end() && sys::page_of(site->at) == page; ++site) {
      if (const SiteEntry* known = sites_.find(site->at); known != nullptr && known->alive) continue;
      SiteEntry& entry = fresh.emplace_back();
      entry.at = site->at;
      entry.length = site->length;
      entry.fp64 = site->fp64;
      entry.bf16 = site->bf16;
      entry.function = function_number;
      entry.set_scope(scope_of(*site));
      entry.set_reason(reason_of(entry, verdict, policy()));
      header.sites += 1;
      header.sites_by_reason[static_cast<int>(entry.reason())] += 1;
    }
    sites_.expect(page, fresh);
    const Range* range = watch_.find(page);
    // Nobody says when the program writes code that does not run yet: what it was must be known then.
    if (module == nullptr || range == nullptr || range->writable()) sites_.in_page(page);
    // A page that already runs is patched at once: nobody can be inside these instructions, since no descent had reached them.
    if (!fresh.empty() && range != nullptr && range->is_open(page)) {
      patch_page(page);
      settle(page);
    }
  }
  for (core::Address a : found.unconfirmed) {
    if (unconfirmed_.insert(a).second) header.sites_by_reason[static_cast<int>(abi::Reason::unconfirmed)] += 1;
  }
}

}  // namespace fase::runtime
