#include "runtime/execute.h"

#include <alloca.h>
#include <elf.h>
#include <errno.h>
#include <sys/stat.h>

#include <cstring>
#include <string_view>

#include "runtime/engine.h"

namespace fase::runtime {
namespace {

constexpr std::string_view kPreload = "LD_PRELOAD=";
constexpr std::string_view kOptions = "FASE_AGENT=";

const char* library_path = "";
const char* options_entry = "";  // "FASE_AGENT=..."

bool lists_library(std::string_view preload) { return preload.find(library_path) != std::string_view::npos; }

/// Why LD_PRELOAD will not reach a program; null when it will, or when nobody can tell (scripts: their interpreter is what counts).
const char* cannot_follow(const char* path) {
  int fd = static_cast<int>(sys::open(path, O_RDONLY | O_CLOEXEC));
  if (fd < 0) return nullptr;
  struct stat status {};
  sys::call(SYS_fstat, fd, reinterpret_cast<long>(&status));
  std::uint8_t head[4096] = {};
  long n = sys::read(fd, head, sizeof head);
  sys::close(fd);
  Elf64_Ehdr header;
  if (n < static_cast<long>(sizeof header) || std::memcmp(head, ELFMAG, SELFMAG) != 0) return nullptr;
  std::memcpy(&header, head, sizeof header);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) return "is not an x86-64 program";
  long user = sys::call(SYS_geteuid);
  if ((status.st_mode & S_ISUID) != 0 && status.st_uid != static_cast<unsigned long>(user)) return "is setuid";
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    std::size_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
    if (header.e_phentsize != sizeof(Elf64_Phdr) || at + sizeof(Elf64_Phdr) > static_cast<std::size_t>(n)) return nullptr;
    Elf64_Phdr segment;
    std::memcpy(&segment, head + at, sizeof segment);
    if (segment.p_type == PT_INTERP) return nullptr;
  }
  return "is a static program";
}

}  // namespace

void remember_environment(const char* library, const char* options) {
  auto keep = [](std::string_view head, std::string_view tail) {
    char* copy = static_cast<char*>(::operator new(head.size() + tail.size() + 1));
    std::memcpy(copy, head.data(), head.size());
    std::memcpy(copy + head.size(), tail.data(), tail.size());
    copy[head.size() + tail.size()] = 0;
    return copy;
  };
  library_path = keep({}, library);
  options_entry = keep(kOptions, options);
}

long execute(Engine& engine, const char* path, char* const* arguments, char* const* environment) {
  const auto replace = [=](char* const* variables) {
    return sys::call(SYS_execve, reinterpret_cast<long>(path), reinterpret_cast<long>(arguments), reinterpret_cast<long>(variables));
  };
  if (*library_path == 0) return replace(environment);
  if (const char* reason = cannot_follow(path)) {
    Line note;
    note << path << " " << reason << ": it runs without emulation";
    engine.record().note(note.view());
  }
  static char* const kNothing[] = {nullptr};
  if (environment == nullptr) environment = kNothing;
  std::size_t n = 0;
  while (environment[n] != nullptr) ++n;
  auto** complete = static_cast<char**>(alloca((n + 3) * sizeof(char*)));
  std::size_t used = 0;
  bool has_options = false, has_library = false;
  for (std::size_t i = 0; i < n; ++i) {
    std::string_view entry = environment[i];
    if (entry.starts_with(kOptions)) has_options = true;
    if (entry.starts_with(kPreload)) {
      has_library = true;
      std::string_view others = entry.substr(kPreload.size());
      if (!lists_library(others)) {
        std::size_t own = std::strlen(library_path);
        char* merged = static_cast<char*>(alloca(kPreload.size() + own + 1 + others.size() + 1));
        std::memcpy(merged, kPreload.data(), kPreload.size());
        std::memcpy(merged + kPreload.size(), library_path, own);
        merged[kPreload.size() + own] = ':';
        std::memcpy(merged + kPreload.size() + own + 1, others.data(), others.size());
        merged[kPreload.size() + own + 1 + others.size()] = 0;
        complete[used++] = merged;
        continue;
      }
    }
    complete[used++] = environment[i];
  }
  if (!has_library) {
    std::size_t own = std::strlen(library_path);
    char* fresh = static_cast<char*>(alloca(kPreload.size() + own + 1));
    std::memcpy(fresh, kPreload.data(), kPreload.size());
    std::memcpy(fresh + kPreload.size(), library_path, own + 1);
    complete[used++] = fresh;
  }
  if (!has_options) complete[used++] = const_cast<char*>(options_entry);
  complete[used] = nullptr;
  return replace(complete);
}

}  // namespace fase::runtime
