// What an ELF module tells about its functions. Pure: works on the file's bytes; every offset is checked.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/discover/discover.h"
#include "core/types.h"

namespace fase::core {

struct Symbol {
  Extent extent;          // runtime addresses
  std::string_view name;  // points into the file's bytes
};

/// Function symbols (.symtab and .dynsym, STT_FUNC and STT_GNU_IFUNC with a size) of one module, and its unwind table.
///
/// Nothing is copied and nothing is sorted: the unwind table is searched in place, symbols are binned by address on the first query that needs
/// them (two passes over the table). So queries are not const, and a module must not be queried by two threads at once.
class ModuleFunctions {
 public:
  ModuleFunctions();
  ~ModuleFunctions();
  ModuleFunctions(ModuleFunctions&&) noexcept;
  ModuleFunctions& operator=(ModuleFunctions&&) noexcept;

  /// `file`: the whole file's bytes (must outlive this); `bias`: load address minus link address. Broken files give an empty table, never a crash.
  static ModuleFunctions parse(std::span<const std::uint8_t> file, Address bias);

  /// Innermost function symbol that contains `a`. Of several names for it, the one that comes first in the file.
  std::optional<Symbol> symbol_at(Address a);
  /// All known functions (symbols, FDEs; deduplicated, ascending, non-overlapping) that overlap `range`. Functions that overlap each other are
  /// one, with several entries.
  std::vector<Function> functions_in(Extent range);
  /// Data objects (STT_OBJECT) inside the code sections that overlap `range`, ascending, merged.
  std::vector<Extent> data_in(Extent range);
  /// Where code can be: the executable sections; without section headers, the executable segments. Ascending.
  std::vector<Extent> code() const;

 private:
  struct Tables;
  Tables* loaded();  // null when the file is not one we can read; builds the symbol index

  std::unique_ptr<Tables> tables_;
};

}  // namespace fase::core
