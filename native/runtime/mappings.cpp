#include "runtime/mappings.h"

#include <algorithm>
#include <cstring>
#include <iterator>
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

void release_unchanged(core::Extent extent) {
  constexpr std::uint64_t kPresent = std::uint64_t{1} << 63, kOfFile = std::uint64_t{1} << 61;  // a private copy is not
  int fd = static_cast<int>(sys::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (fd < 0) return;
  std::uint64_t entries[256];
  for (core::Address at = extent.begin; at < extent.end;) {
    const std::size_t wanted = std::min(std::size(entries), (extent.end - at) / sys::kPage);
    const long n = sys::pread(fd, entries, wanted * sizeof entries[0], static_cast<long>(at / sys::kPage * sizeof entries[0]));
    const auto known = n > 0 ? static_cast<std::size_t>(n) / sizeof entries[0] : 0;
    if (known == 0) break;
    for (std::size_t i = 0; i < known;) {
      std::size_t end = i;
      while (end < known && (entries[end] & (kPresent | kOfFile)) == (kPresent | kOfFile)) ++end;
      if (end > i) sys::advise(at + i * sys::kPage, (end - i) * sys::kPage, MADV_DONTNEED);
      i = end + 1;
    }
    at += known * sys::kPage;
  }
  sys::close(fd);
}

}  // namespace fase::runtime
