// Functions that hold FMA sites: their names for the report, and the rule that holds for them.
#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/types.h"

namespace fase::runtime {

inline constexpr std::uint32_t kNoRule = 0xffffffff;

/// What a policy says of a function.
struct Verdict {
  bool allowed = true;           // neither excluded nor left out of the includes
  std::uint32_t mode = kNoRule;  // number of the mode of its own
};

struct FunctionEntry {
  core::Extent extent;
  std::string name;          // as the symbol table has it; empty when it has none
  std::uint32_t module = 0;  // in the record
  Verdict verdict;           // of the policy that holds
  bool listed = false;       // written to the names file
};

class Functions {
 public:
  /// Number 0 is code in no known function.
  Functions() : entries_(1) {}
  std::uint32_t add(FunctionEntry entry);
  FunctionEntry& operator[](std::uint32_t number) { return entries_[number]; }
  const FunctionEntry& operator[](std::uint32_t number) const { return entries_[number]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(entries_.size()); }
  /// Appends a function to the names file of `record_path`, once.
  void list(std::uint32_t number, const std::string& record_path);
  /// In the child of a fork: its own names file starts with what is known.
  void list_again(const std::string& record_path);

 private:
  void write(std::uint32_t number, const std::string& record_path) const;
  std::vector<FunctionEntry> entries_;
  std::unordered_map<core::Address, std::uint32_t> by_begin_;
};

}  // namespace fase::runtime
