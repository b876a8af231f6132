#include "core/elf/symbols.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace fase::core {
namespace {

constexpr std::size_t kMaxBins = 1 << 15;
constexpr Address kLongest = 16 << 20;  // a symbol longer than this is no function

bool in_code(const ElfImage& image, Address a) {
  for (const Extent& e : image.code)
    if (e.contains(a)) return true;
  return false;
}

/// A sized function or object in a code section.
bool is_wanted(const ElfImage& image, const Elf64_Sym& s) {
  const unsigned type = ELF64_ST_TYPE(s.st_info);
  if (s.st_size == 0 || s.st_size > kLongest || s.st_shndx == SHN_UNDEF || s.st_value + s.st_size <= s.st_value) return false;
  if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_OBJECT) return false;
  return in_code(image, s.st_value) && in_code(image, s.st_value + s.st_size - 1);
}

bool is_object(const Elf64_Sym& s) { return ELF64_ST_TYPE(s.st_info) == STT_OBJECT; }

/// The extents and kinds of some symbols of a table: hashed, since to look for them in bins takes longer than all the rest.
class Extents {
 public:
  Extents(const SymbolTable& table, const std::vector<std::uint32_t>& symbols)
      : table_(table), bits_(std::bit_width(2 * symbols.size())), slots_(std::size_t{1} << bits_) {
    for (const std::uint32_t symbol : symbols) slots_[slot_of(table.at(symbol))] = symbol;
  }
  bool has(const Elf64_Sym& s) const { return slots_[slot_of(s)] != kNone; }

 private:
  static constexpr std::uint32_t kNone = 0;  // number of the symbol that means none in every table

  /// Where it is, or would be.
  std::size_t slot_of(const Elf64_Sym& s) const {
    std::size_t i = (s.st_value ^ s.st_size << 32) * 0x9e3779b97f4a7c15U >> (64 - bits_);
    while (slots_[i] != kNone && !same(table_.at(slots_[i]), s)) i = (i + 1) & (slots_.size() - 1);
    return i;
  }
  static bool same(const Elf64_Sym& a, const Elf64_Sym& b) {
    return a.st_value == b.st_value && a.st_size == b.st_size && is_object(a) == is_object(b);
  }

  const SymbolTable& table_;
  unsigned bits_;
  std::vector<std::uint32_t> slots_;
};

std::vector<std::uint32_t> wanted_symbols(const ElfImage& image, const SymbolTable& table) {
  std::vector<std::uint32_t> symbols;
  for (std::size_t i = 1; i < table.count() && i < UINT32_MAX; ++i)
    if (is_wanted(image, table.at(i))) symbols.push_back(static_cast<std::uint32_t>(i));
  return symbols;
}

}  // namespace

void SymbolIndex::build(const ElfImage& image) {
  tables_.clear();
  if (image.code.empty()) return;
  Extent code = image.code.front();
  for (const Extent& e : image.code) code.end = std::max(code.end, e.end);
  std::vector<SymbolTable> tables(image.symbols.begin(), image.symbols.begin() + std::min<std::ptrdiff_t>(2, std::ssize(image.symbols)));
  std::sort(tables.begin(), tables.end(), [](const SymbolTable& a, const SymbolTable& b) { return a.names.data() < b.names.data(); });
  std::vector<std::uint32_t> known;  // of the first table
  for (const SymbolTable& table : tables) {
    std::vector<std::uint32_t> symbols = wanted_symbols(image, table);
    if (!known.empty()) {  // what is local is in one table alone
      const Extents extents(tables.front(), known);
      std::erase_if(symbols, [&](std::uint32_t i) { return ELF64_ST_BIND(table.at(i).st_info) != STB_LOCAL && extents.has(table.at(i)); });
    }
    tables_.emplace_back(table, code).fill(symbols);
    known = std::move(symbols);
  }
}

void SymbolIndex::Bins::fill(const std::vector<std::uint32_t>& symbols) {
  shift_ = 12;
  while (code_.size() >> shift_ > std::min(symbols.size() / 4, kMaxBins)) ++shift_;
  std::vector<std::uint32_t> starts((code_.size() >> shift_) + 2);
  const std::size_t most = 8 * symbols.size() + (1 << 16);  // more: every symbol overlaps every other, this is not a compiler's table
  std::size_t total = 0;
  for (const std::uint32_t symbol : symbols) {
    const Extent e = entry(table_, symbol).extent;
    for (std::size_t bin = bin_of(e.begin); bin <= bin_of(e.end - 1); ++bin) ++starts[bin];
    total += bin_of(e.end - 1) - bin_of(e.begin) + 1;
    if (total > most) return;
  }
  std::uint32_t sum = 0;  // starts[i] becomes where bin i ends; filling backwards turns it into where it starts
  for (std::uint32_t& start : starts) start = sum += start;
  members_.resize(total);
  for (const std::uint32_t symbol : symbols) {
    const Extent e = entry(table_, symbol).extent;
    for (std::size_t bin = bin_of(e.begin); bin <= bin_of(e.end - 1); ++bin) members_[--starts[bin]] = symbol;
  }
  starts_ = std::move(starts);
}

SymbolIndex::Entry SymbolIndex::entry(const SymbolTable& table, std::size_t number) {
  const Elf64_Sym s = table.at(number);
  return {{s.st_value, s.st_value + s.st_size}, !is_object(s), &table, s.st_name};
}

}  // namespace fase::core
