// Symbols by address without a copy of the table: indices into the file's own symbol tables, binned by address.
#pragma once
#include <vector>

#include "core/elf/image.h"

namespace fase::core {

/// Sized symbols of the code sections, of up to two tables. Four to five bytes a symbol, no sort. Addresses are link addresses. A symbol that is in
/// both tables comes once, with the name that is first in the file.
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
    for (const Bins& bins : tables_) bins.each_in(range, visit);
  }

 private:
  /// One table.
  class Bins {
   public:
    Bins(const SymbolTable& table, Extent code) : table_(table), code_(code) {}
    /// `symbols`: the numbers of those to be found.
    void fill(const std::vector<std::uint32_t>& symbols);

    template <typename Visit>
    void each_in(Extent range, Visit visit) const {
      if (starts_.empty() || range.end <= code_.begin || range.begin >= code_.end) return;
      const std::size_t first = bin_of(range.begin < code_.begin ? code_.begin : range.begin);
      const std::size_t last = bin_of((range.end > code_.end ? code_.end : range.end) - 1);
      for (std::size_t i = starts_[first]; i < starts_[last + 1]; ++i) {
        const Entry e = entry(table_, members_[i]);
        if (e.extent.begin < range.end && e.extent.end > range.begin) visit(e);
      }
    }

   private:
    std::size_t bin_of(Address a) const { return (a - code_.begin) >> shift_; }

    SymbolTable table_;
    Extent code_;  // hull of the code sections
    unsigned shift_ = 12;
    std::vector<std::uint32_t> starts_;   // bin i holds members_[starts_[i] .. starts_[i+1])
    std::vector<std::uint32_t> members_;  // symbol numbers
  };

  static Entry entry(const SymbolTable& table, std::size_t number);

  std::vector<Bins> tables_;  // by where their names are in the file
};

}  // namespace fase::core
