#include "runtime/modules.h"

#include <Zydis/Zydis.h>
#include <link.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "runtime/system.h"

namespace fase::runtime {
namespace {

std::string executable_path() {
  char buffer[4096];
  long n = sys::call(SYS_readlink, reinterpret_cast<long>("/proc/self/exe"), reinterpret_cast<long>(buffer), sizeof buffer);
  return n > 0 ? std::string(buffer, static_cast<std::size_t>(n)) : std::string();
}

std::vector<Segment> segments_of(const LoadedModule& loaded) {
  std::vector<Segment> segments;
  for (std::uint32_t i = 0; i < loaded.program_header_count; ++i) {
    const auto& header = static_cast<const ElfW(Phdr)*>(loaded.program_headers)[i];
    if (header.p_type != PT_LOAD || header.p_memsz == 0) continue;
    core::Address begin = loaded.bias + header.p_vaddr;
    segments.push_back({{sys::page_of(begin), sys::page_up(begin + header.p_memsz)}, (header.p_flags & PF_X) != 0, (header.p_flags & PF_W) != 0});
  }
  return segments;
}

/// The fault handler runs code of these while it holds the engine's lock: they must never fault themselves. None has single-precision FMAs.
bool is_trusted(const Module& module) {
  std::string_view name = module.name();
  for (std::string_view known : {"libc.so.6", "ld-linux-x86-64.so.2", "linux-vdso.so.1", "libpthread.so.0", "libdl.so.2"}) {
    if (name == known) return true;
  }
  const void* own[] = {reinterpret_cast<const void*>(&is_trusted), reinterpret_cast<const void*>(&ZydisDecoderInit),
                       reinterpret_cast<const void*>(&memcpy)};
  return std::any_of(std::begin(own), std::end(own), [&](const void* p) { return module.contains(reinterpret_cast<core::Address>(p)); });
}

std::span<const std::uint8_t> map_file(const char* path) {
  int fd = static_cast<int>(sys::open(path, O_RDONLY | O_CLOEXEC));
  if (fd < 0) return {};
  struct stat status {};
  long result = sys::call(SYS_fstat, fd, reinterpret_cast<long>(&status));
  long p = -1;
  if (!sys::failed(result) && S_ISREG(status.st_mode) && status.st_size > 0) {
    p = sys::map(0, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, fd);
  }
  sys::close(fd);
  if (p == -1 || sys::failed(p)) return {};
  return {reinterpret_cast<const std::uint8_t*>(p), static_cast<std::size_t>(status.st_size)};
}

struct Listing {
  std::span<LoadedModule> out;
  std::size_t count = 0;
};

int visit(dl_phdr_info* info, std::size_t, void* data) {
  auto& listing = *static_cast<Listing*>(data);
  if (listing.count < listing.out.size()) {
    listing.out[listing.count] = {info->dlpi_addr, info->dlpi_name, info->dlpi_phdr, info->dlpi_phnum};
  }
  ++listing.count;
  return 0;
}

std::unique_ptr<Module> make_module(const LoadedModule& loaded, bool main_program) {
  auto module = std::make_unique<Module>();
  module->path = main_program ? executable_path() : std::string(loaded.name != nullptr ? loaded.name : "");
  module->bias = loaded.bias;
  module->segments = segments_of(loaded);
  module->trusted = is_trusted(*module);
  return module;
}

bool same(const Module& a, const Module& b) {
  return a.bias == b.bias && a.path == b.path && a.segments.size() == b.segments.size() &&
         (a.segments.empty() || a.segments[0].extent.begin == b.segments[0].extent.begin);
}

}  // namespace

Module::~Module() {
  if (!file_.empty()) sys::unmap(reinterpret_cast<std::uint64_t>(file_.data()), file_.size());
}

void Module::release_file() const {
  if (!file_.empty()) sys::call(SYS_madvise, reinterpret_cast<long>(file_.data()), static_cast<long>(file_.size()), MADV_DONTNEED);
}

bool Module::contains(core::Address a) const { return segment_at(a) != nullptr; }

const Segment* Module::segment_at(core::Address a) const {
  for (const Segment& segment : segments) {
    if (segment.extent.contains(a)) return &segment;
  }
  return nullptr;
}

std::string_view Module::name() const {
  std::string_view whole = path;
  auto slash = whole.rfind('/');
  return slash == std::string_view::npos ? whole : whole.substr(slash + 1);
}

core::ModuleFunctions& Module::functions() {
  if (!functions_) {
    file_ = map_file(path.c_str());
    functions_ = std::make_unique<core::ModuleFunctions>(core::ModuleFunctions::parse(file_, bias));
  }
  return *functions_;
}

std::size_t list_loaded_modules(std::span<LoadedModule> out) {
  Listing listing{out};
  dl_iterate_phdr(visit, &listing);
  return listing.count;
}

Modules::Change Modules::refresh(std::span<const LoadedModule> loaded) {
  std::vector<std::unique_ptr<Module>> now;
  for (const LoadedModule& one : loaded) now.push_back(make_module(one, now.empty()));
  Change change;
  std::vector<std::unique_ptr<Module>> kept;
  for (auto& old : modules_) {
    bool still = std::any_of(now.begin(), now.end(), [&](const auto& module) { return same(*old, *module); });
    (still ? kept : change.removed).push_back(std::move(old));
  }
  std::size_t old_count = kept.size();
  for (auto& module : now) {
    bool known = std::any_of(kept.begin(), kept.begin() + static_cast<long>(old_count), [&](const auto& old) { return same(*old, *module); });
    if (known) continue;
    change.added.push_back(module.get());
    kept.push_back(std::move(module));
  }
  modules_ = std::move(kept);
  index();
  return change;
}

void Modules::forget() {
  modules_.clear();
  index();
}

void Modules::index() {
  segments_.clear();
  for (const auto& module : modules_) {
    for (const Segment& segment : module->segments) segments_.push_back({segment.extent, module.get()});
  }
  std::sort(segments_.begin(), segments_.end(), [](const Owned& x, const Owned& y) { return x.extent.begin < y.extent.begin; });
}

Module* Modules::at(core::Address a) {
  auto after = std::upper_bound(segments_.begin(), segments_.end(), a, [](core::Address x, const Owned& s) { return x < s.extent.begin; });
  // Neighbours may share a page.
  for (int back = 0; back < 2 && after != segments_.begin(); ++back) {
    if ((--after)->extent.contains(a)) return after->module;
  }
  return nullptr;
}

}  // namespace fase::runtime
