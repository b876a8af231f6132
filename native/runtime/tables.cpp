#include "runtime/tables.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "runtime/message.h"
#include "runtime/system.h"

namespace fase::runtime {
namespace {

constexpr std::size_t kLongest = 16 + 8 * std::size_t{65536};

/// Empty, or why the file cannot be read.
std::string read_file(const std::string& path, std::vector<std::uint8_t>& out) {
  const auto failed = [&](long error) {
    Line line;
    line << "the table " << path << " of a format cannot be read (errno " << static_cast<std::uint64_t>(-error) << ")";
    return std::string(line.view());
  };
  const long fd = sys::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (sys::failed(fd)) return failed(fd);
  out.resize(kLongest);
  std::size_t size = 0;
  long n = 0;
  while (size < kLongest && (n = sys::read(static_cast<int>(fd), out.data() + size, kLongest - size)) > 0) size += static_cast<std::size_t>(n);
  sys::close(static_cast<int>(fd));
  out.resize(size);
  return sys::failed(n) ? failed(n) : std::string();
}

class Tables : public core::TableSource {
 public:
  void look_in(std::string_view directory) { directory_ = directory; }

  const core::Lookup* table(std::string_view key, std::string_view letters, std::string& problem) override {
    const std::string name = std::string(key) + std::string(letters);
    for (const Entry& entry : entries_) {
      if (entry.name == name) return entry.lookup.get();
    }
    const std::string path = directory_ + "/" + std::string(key) + ".fasetab";
    std::vector<std::uint8_t> file;
    auto lookup = std::make_unique<core::Lookup>();
    if (problem = read_file(path, file); !problem.empty()) return nullptr;
    if (problem = core::make_lookup(file, letters, *lookup); !problem.empty()) {
      problem = "the table " + path + " of a format is broken: " + problem;
      return nullptr;
    }
    entries_.push_back({name, std::move(lookup)});
    return entries_.back().lookup.get();
  }

 private:
  struct Entry {
    std::string name;
    std::unique_ptr<core::Lookup> lookup;  // emitted code has its address
  };
  std::string directory_;
  std::vector<Entry> entries_;
};

Tables* tables;  // never destroyed

}  // namespace

core::TableSource& tables_in(std::string_view directory) {
  if (tables == nullptr) tables = new Tables;
  tables->look_in(directory);
  return *tables;
}

}  // namespace fase::runtime
