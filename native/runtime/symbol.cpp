#include "runtime/symbol.h"

#include <cstdint>
#include <cstring>

namespace fase::runtime {
namespace {

struct Tables {
  const ElfW(Sym) * symbols = nullptr;
  const char* strings = nullptr;
  const std::uint32_t* hash = nullptr;
};

Tables tables_of(const link_map& library) {
  Tables tables;
  for (const ElfW(Dyn)* d = library.l_ld; d->d_tag != DT_NULL; ++d) {
    // glibc has relocated these addresses in place.
    if (d->d_tag == DT_SYMTAB) tables.symbols = reinterpret_cast<const ElfW(Sym)*>(d->d_un.d_ptr);
    if (d->d_tag == DT_STRTAB) tables.strings = reinterpret_cast<const char*>(d->d_un.d_ptr);
    if (d->d_tag == DT_GNU_HASH) tables.hash = reinterpret_cast<const std::uint32_t*>(d->d_un.d_ptr);
  }
  return tables;
}

std::uint32_t gnu_hash(const char* name) {
  std::uint32_t h = 5381;
  for (; *name != 0; ++name) h = h * 33 + static_cast<std::uint8_t>(*name);
  return h;
}

}  // namespace

// Layout: nbuckets, first symbol, bloom words, bloom shift; bloom (8 bytes each), buckets, chains. A chain ends with an odd hash.
void* find_symbol(const link_map& library, const char* name) {
  Tables t = tables_of(library);
  if (t.symbols == nullptr || t.strings == nullptr || t.hash == nullptr || t.hash[0] == 0) return nullptr;
  const std::uint32_t* buckets = t.hash + 4 + t.hash[2] * 2;
  const std::uint32_t* chains = buckets + t.hash[0];
  std::uint32_t wanted = gnu_hash(name);
  std::uint32_t i = buckets[wanted % t.hash[0]];
  if (i < t.hash[1]) return nullptr;
  for (;; ++i) {
    std::uint32_t h = chains[i - t.hash[1]];
    bool same = (h | 1) == (wanted | 1) && std::strcmp(t.strings + t.symbols[i].st_name, name) == 0;
    if (same && t.symbols[i].st_shndx != SHN_UNDEF) return reinterpret_cast<void*>(library.l_addr + t.symbols[i].st_value);
    if ((h & 1) != 0) return nullptr;
  }
}

}  // namespace fase::runtime
