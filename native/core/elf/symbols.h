// Symbols by address without a copy of the table: indices into the file's own symbol tables, binned by address.
#pragma once
#include <vector>

#include "core/elf/image.h"

namespace fase::core {

/// Sized symbols of the code sections. Four bytes a symbol; built in two passes over the table, no sort. Addresses are link addresses.
class SymbolIndex {
 public:
  struct Entry {
    Extent extent;
    bool function = false;     // STT_FUNC or STT_GNU_IFUNC; else STT_OBJECT: data among code
    const SymbolTable* table;  // for the name, on demand
    std::uint32_t name = 0;
    std::string_view text() const { return table->name(name); }
  };

  /// `image` must outlive this.
  void build(const ElfImage& image);

  /// Calls `visit(Entry)` for the symbols that overlap `range`, in no order; one may come more than once.
  template <typename Visit>
  void each_in(Extent range, Visit visit) const {
    if (bins_.empty() || range.end <= code_.begin || range.begin >= code_.end) return;
    const std::size_t first = bin_of(range.begin < code_.begin ? code_.begin : range.begin);
    const std::size_t last = bin_of((range.end > code_.end ? code_.end : range.end) - 1);
    for (std::size_t i = bins_[first]; i < bins_[last + 1]; ++i) {
      const Entry e = entry(members_[i]);
      if (e.extent.begin < range.end && e.extent.end > range.begin) visit(e);
    }
  }

 private:
  std::size_t bin_of(Address a) const { return (a - code_.begin) >> shift_; }
  Entry entry(std::uint32_t member) const;

  const ElfImage* image_ = nullptr;
  Extent code_;  // hull of the code sections
  unsigned shift_ = 12;
  std::vector<std::uint32_t> bins_;     // bin i holds members_[bins_[i] .. bins_[i+1])
  std::vector<std::uint32_t> members_;  // symbol number; the top bit tells the second table
};

}  // namespace fase::core
