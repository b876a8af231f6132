// An ELF64 x86-64 file's bytes: the parts the engine needs, every offset checked. A broken or hostile file has no segments and no sections.
#pragma once
#include <elf.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace fase::core {

using Bytes = std::span<const std::uint8_t>;

/// Reads a T at `offset`; false when it is not wholly inside.
template <typename T>
bool read_at(Bytes bytes, std::uint64_t offset, T& out) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return false;
  std::memcpy(&out, bytes.data() + offset, sizeof(T));
  return true;
}

/// [offset, offset+size) of `bytes`, empty when it is not wholly inside.
Bytes slice(Bytes bytes, std::uint64_t offset, std::uint64_t size);

/// A symbol table section and its strings.
struct SymbolTable {
  Bytes entries;  // a whole number of Elf64_Sym
  Bytes names;
  std::size_t count() const { return entries.size() / sizeof(Elf64_Sym); }
  Elf64_Sym at(std::size_t i) const {
    Elf64_Sym s;
    std::memcpy(&s, entries.data() + i * sizeof s, sizeof s);
    return s;
  }
  /// The NUL-terminated string at `offset`; empty when there is none.
  std::string_view name(std::uint32_t offset) const;
};

struct ElfImage {
  Bytes file;
  std::vector<Elf64_Phdr> segments;
  std::vector<Extent> code;          // link addresses, ascending: sections with SHF_EXECINSTR; without section headers, executable segments
  std::vector<SymbolTable> symbols;  // .symtab and .dynsym, those that exist

  static ElfImage parse(Bytes file);
  /// The file's bytes at link address `a`, to the end of its segment; empty when nothing of the file is loaded there.
  Bytes at(Address a) const;
  /// The segment of this type; null when there is none.
  const Elf64_Phdr* segment(std::uint32_t type) const;
};

}  // namespace fase::core
