#include "core/elf/image.h"

#include <algorithm>

namespace fase::core {
namespace {

bool is_x86_64(const Elf64_Ehdr& h) {
  return std::memcmp(h.e_ident, ELFMAG, SELFMAG) == 0 && h.e_ident[EI_CLASS] == ELFCLASS64 && h.e_ident[EI_DATA] == ELFDATA2LSB &&
         h.e_machine == EM_X86_64;
}

/// Adds [begin, begin+size) unless it is empty or wraps.
void add_extent(std::vector<Extent>& out, Address begin, std::uint64_t size) {
  if (size != 0 && begin + size > begin) out.push_back({begin, begin + size});
}

std::vector<Elf64_Shdr> section_headers(Bytes file, const Elf64_Ehdr& h) {
  std::vector<Elf64_Shdr> out;
  if (h.e_shentsize != sizeof(Elf64_Shdr)) return out;
  for (std::size_t i = 0; i < h.e_shnum; ++i) {
    Elf64_Shdr section;
    if (!read_at(file, h.e_shoff + i * sizeof section, section)) return {};
    out.push_back(section);
  }
  return out;
}

void add_symbol_table(Bytes file, const std::vector<Elf64_Shdr>& sections, const Elf64_Shdr& table, std::vector<SymbolTable>& out) {
  if (table.sh_entsize != sizeof(Elf64_Sym) || table.sh_link >= sections.size()) return;
  const Elf64_Shdr& strings = sections[table.sh_link];
  if (strings.sh_type != SHT_STRTAB) return;
  SymbolTable t;
  t.entries = slice(file, table.sh_offset, table.sh_size - table.sh_size % sizeof(Elf64_Sym));
  t.names = slice(file, strings.sh_offset, strings.sh_size);
  if (t.count() != 0) out.push_back(t);
}

}  // namespace

Bytes slice(Bytes bytes, std::uint64_t offset, std::uint64_t size) {
  if (offset > bytes.size() || bytes.size() - offset < size) return {};
  return bytes.subspan(offset, size);
}

std::string_view SymbolTable::name(std::uint32_t offset) const {
  if (offset >= names.size()) return {};
  const char* begin = reinterpret_cast<const char*>(names.data()) + offset;
  const auto* end = static_cast<const char*>(std::memchr(begin, 0, names.size() - offset));
  return end == nullptr ? std::string_view{} : std::string_view(begin, static_cast<std::size_t>(end - begin));
}

ElfImage ElfImage::parse(Bytes file) {
  ElfImage image;
  Elf64_Ehdr h;
  if (!read_at(file, 0, h) || !is_x86_64(h) || h.e_phentsize != sizeof(Elf64_Phdr)) return image;
  for (std::size_t i = 0; i < h.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!read_at(file, h.e_phoff + i * sizeof segment, segment)) return {};
    image.segments.push_back(segment);
  }
  image.file = file;
  const std::vector<Elf64_Shdr> sections = section_headers(file, h);
  for (const Elf64_Shdr& s : sections) {
    if (s.sh_type == SHT_PROGBITS && (s.sh_flags & SHF_EXECINSTR) && (s.sh_flags & SHF_ALLOC)) add_extent(image.code, s.sh_addr, s.sh_size);
    if (s.sh_type == SHT_SYMTAB || s.sh_type == SHT_DYNSYM) add_symbol_table(file, sections, s, image.symbols);
  }
  if (image.code.empty()) {
    for (const Elf64_Phdr& p : image.segments)
      if (p.p_type == PT_LOAD && (p.p_flags & PF_X)) add_extent(image.code, p.p_vaddr, p.p_filesz);
  }
  std::sort(image.code.begin(), image.code.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  return image;
}

Bytes ElfImage::at(Address a) const {
  for (const Elf64_Phdr& p : segments) {
    if (p.p_type != PT_LOAD || a < p.p_vaddr || a - p.p_vaddr >= p.p_filesz) continue;
    const Bytes whole = slice(file, p.p_offset, p.p_filesz);
    return whole.empty() ? whole : whole.subspan(a - p.p_vaddr);
  }
  return {};
}

const Elf64_Phdr* ElfImage::segment(std::uint32_t type) const {
  for (const Elf64_Phdr& p : segments)
    if (p.p_type == type) return &p;
  return nullptr;
}

}  // namespace fase::core
