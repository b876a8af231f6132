// The record file of this process (native/abi/record.h), mapped shared at a fixed place so that it can be replaced after a fork.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "abi/record.h"
#include "core/region/translate.h"

namespace fase::runtime {

class Record {
 public:
  /// Creates `directory/<pid>-<start>.faserec` and maps it. Returns an empty string or what failed.
  std::string create(const std::string& directory, const char* command, std::size_t command_size);
  /// In the child of a fork: a file of its own with the same tables and zero counts, mapped over the parent's.
  void renew_after_fork();

  abi::RecordHeader& header() { return *header_; }
  const std::string& path() const { return path_; }
  bool active() const { return header_ != nullptr; }

  std::uint32_t mode_index(std::string_view name);
  /// Why mode_index() of all these cannot be had; empty when it can. Before create(): of a table without entries.
  std::string room_problem(std::span<const std::string_view> names) const;
  std::uint32_t module_index(std::string_view path);
  void note(std::string_view text);

  /// First of `n` free segments; dies when the table is full.
  std::uint32_t next_segment() const { return static_cast<std::uint32_t>(header_->segments); }
  void add_segment(const abi::SegmentRecord& segment);

  struct Block {
    std::uint64_t* counts;
    std::uint32_t number;
  };
  /// A counter block for the calling thread: its own, a dead thread's, or a new one.
  Block block_for_this_thread();

 private:
  std::string map_file();
  /// Writing to these bytes of the file will not end the program by SIGBUS, however full the disk is.
  void secure(const void* from, std::size_t bytes);
  std::uint64_t* counts_of(std::uint64_t block) const;
  std::uint32_t find_mode(std::string_view name) const;  // header().modes when there is none
  std::string directory_;
  std::string path_;
  abi::RecordHeader* header_ = nullptr;
  abi::SegmentRecord* segments_ = nullptr;
  std::uint8_t* base_ = nullptr;
  bool disk_full_ = false;
  int owners_[abi::kMaxBlocks] = {};  // thread ids
};

}  // namespace fase::runtime
