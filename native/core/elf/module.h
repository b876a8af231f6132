// What an ELF module tells about its functions. Pure: works on the file's bytes and on the loaded image's bytes; every offset is checked.
#pragma once
#include <cstdint>
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
class ModuleFunctions {
 public:
  /// `file`: the whole file's bytes (must outlive this); `bias`: load address minus link address. Broken files give an empty table, never a crash.
  static ModuleFunctions parse(std::span<const std::uint8_t> file, Address bias);

  /// Innermost function symbol that contains `a`.
  const Symbol* symbol_at(Address a) const;
  /// All known functions (symbols, FDEs; deduplicated, ascending, non-overlapping) that overlap `range`.
  std::vector<Function> functions_in(Extent range) const;

 private:
  friend class ModuleParser;
  std::vector<Symbol> symbols_;      // ascending
  std::vector<Function> functions_;  // ascending, non-overlapping
};

}  // namespace fase::core
