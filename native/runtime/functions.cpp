#include "runtime/functions.h"

#include "abi/record.h"
#include "runtime/message.h"
#include "runtime/system.h"

namespace fase::runtime {

std::uint32_t Functions::add(FunctionEntry entry) {
  // A library that is unloaded and loaded again brings the same functions.
  auto [place, fresh] = by_begin_.try_emplace(entry.extent.begin, static_cast<std::uint32_t>(entries_.size()));
  if (!fresh) {
    const FunctionEntry& known = entries_[place->second];
    if (known.name == entry.name && known.extent.end == entry.extent.end && known.module == entry.module) return place->second;
    place->second = static_cast<std::uint32_t>(entries_.size());
  }
  entries_.push_back(std::move(entry));
  return static_cast<std::uint32_t>(entries_.size() - 1);
}

void Functions::list(std::uint32_t number, const std::string& record_path) {
  if (number == 0 || entries_[number].listed) return;
  entries_[number].listed = true;
  write(number, record_path);
}

void Functions::list_again(const std::string& record_path) {
  for (std::uint32_t i = 1; i < entries_.size(); ++i) {
    if (entries_[i].listed) write(i, record_path);
  }
}

void Functions::write(std::uint32_t number, const std::string& record_path) const {
  std::string path = record_path + abi::kNamesSuffix;
  int fd = static_cast<int>(sys::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (fd < 0) return;  // names are a comfort; counts do not depend on them
  const FunctionEntry& entry = entries_[number];
  std::string line(Line().operator<<(std::uint64_t{number}).view());
  line += '\t';
  line += Line().operator<<(std::uint64_t{entry.module}).view();
  line += '\t';
  line += entry.name;
  line += '\n';
  sys::write(fd, line.data(), line.size());
  sys::close(fd);
}

}  // namespace fase::runtime
