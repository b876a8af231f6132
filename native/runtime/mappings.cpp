#include "runtime/mappings.h"

#include <cstring>
#include <string_view>

#include "runtime/system.h"

namespace fase::runtime {
namespace {

core::Address take_hex(std::string_view& text) {
  core::Address value = 0;
  while (!text.empty()) {
    char c = text.front();
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) break;
    value = value << 4 | static_cast<core::Address>(digit);
    text.remove_prefix(1);
  }
  return value;
}

/// "begin-end rwxp offset device inode   name"
Mapping parse(std::string_view line) {
  Mapping mapping;
  mapping.extent.begin = take_hex(line);
  line.remove_prefix(line.empty() ? 0 : 1);
  mapping.extent.end = take_hex(line);
  if (line.size() < 5) return mapping;
  mapping.protection = (line[1] == 'r' ? PROT_READ : 0) | (line[2] == 'w' ? PROT_WRITE : 0) | (line[3] == 'x' ? PROT_EXEC : 0);
  mapping.shared = line[4] == 's';
  mapping.special = line.find('[') != std::string_view::npos;
  return mapping;
}

}  // namespace

bool for_each_mapping(void (*visit)(const Mapping&, void*), void* data) {
  int fd = static_cast<int>(sys::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  if (fd < 0) return false;
  char buffer[8192];
  std::size_t have = 0;
  for (;;) {
    long n = sys::read(fd, buffer + have, sizeof buffer - have);
    if (n <= 0) break;
    have += static_cast<std::size_t>(n);
    std::size_t start = 0;
    while (void* newline = std::memchr(buffer + start, '\n', have - start)) {
      std::size_t end = static_cast<std::size_t>(static_cast<char*>(newline) - buffer);
      visit(parse({buffer + start, end - start}), data);
      start = end + 1;
    }
    have -= start;
    std::memmove(buffer, buffer + start, have);
  }
  sys::close(fd);
  return true;
}

}  // namespace fase::runtime
