#include "runtime/blocked.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "runtime/system.h"

namespace fase::runtime {
namespace {

constexpr char kTasks[] = "/proc/self/task/";

struct Entry {  // struct linux_dirent64
  std::uint64_t inode;
  std::int64_t offset;
  unsigned short size;
  unsigned char type;
  char name[1];
};

bool blocks_faults(const char* thread) {
  int fd = static_cast<int>(sys::open((std::string(kTasks) + thread + "/status").c_str(), O_RDONLY | O_CLOEXEC));
  if (fd < 0) return false;
  char text[4096];
  long n = sys::read(fd, text, sizeof text - 1);
  sys::close(fd);
  text[n > 0 ? n : 0] = 0;
  const char* line = std::strstr(text, "SigBlk:");
  return line != nullptr && (std::strtoull(line + 7, nullptr, 16) & sys::signal_bit(SIGSEGV)) != 0;
}

}  // namespace

bool others_block_faults() {
  int fd = static_cast<int>(sys::open(kTasks, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd < 0) return false;
  bool found = false;
  alignas(Entry) char buffer[4096];
  for (long n; !found && (n = sys::call(SYS_getdents64, fd, reinterpret_cast<long>(buffer), sizeof buffer)) > 0;) {
    for (long at = 0; at < n && !found;) {
      const auto* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->size;
      found = entry->name[0] != '.' && std::atoi(entry->name) != sys::thread() && blocks_faults(entry->name);
    }
  }
  sys::close(fd);
  return found;
}

}  // namespace fase::runtime
