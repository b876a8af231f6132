#include "core/elf/symbols.h"

namespace fase::core {
namespace {

constexpr std::uint32_t kSecondTable = 0x80000000;
constexpr std::size_t kMaxBins = 1 << 15;
constexpr std::size_t kMaxBinsOfOne = 4096;  // a symbol over more bins than this is no function

bool in_code(const ElfImage& image, Address a) {
  for (const Extent& e : image.code)
    if (e.contains(a)) return true;
  return false;
}

/// The symbol's extent; empty when it is not a sized function or object in a code section.
Extent extent_of(const ElfImage& image, const Elf64_Sym& s) {
  const unsigned type = ELF64_ST_TYPE(s.st_info);
  if (s.st_size == 0 || s.st_shndx == SHN_UNDEF || s.st_value + s.st_size <= s.st_value) return {};
  if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_OBJECT) return {};
  if (!in_code(image, s.st_value) || !in_code(image, s.st_value + s.st_size - 1)) return {};
  return {s.st_value, s.st_value + s.st_size};
}

}  // namespace

void SymbolIndex::build(const ElfImage& image) {
  image_ = &image;
  bins_.clear();
  members_.clear();
  if (image.code.empty()) return;
  code_ = image.code.front();
  for (const Extent& e : image.code) code_.end = e.end > code_.end ? e.end : code_.end;
  shift_ = 12;
  while (code_.size() >> shift_ >= kMaxBins) ++shift_;
  std::vector<std::uint32_t> bins((code_.size() >> shift_) + 2);

  const std::size_t tables = image.symbols.size() < 2 ? image.symbols.size() : 2;
  std::size_t symbols = 0, total = 0;
  const auto each = [&](auto visit) {
    for (std::size_t t = 0; t < tables; ++t) {
      const SymbolTable& table = image.symbols[t];
      for (std::size_t i = 0; i < table.count() && i < kSecondTable; ++i) {
        const Extent e = extent_of(image, table.at(i));
        if (e.end == 0 || bin_of(e.end - 1) - bin_of(e.begin) > kMaxBinsOfOne) continue;
        for (std::size_t bin = bin_of(e.begin); bin <= bin_of(e.end - 1); ++bin)
          visit(bin, static_cast<std::uint32_t>(i) | (t == 1 ? kSecondTable : 0));
      }
    }
  };
  for (std::size_t t = 0; t < tables; ++t) symbols += image.symbols[t].count();
  each([&](std::size_t bin, std::uint32_t) {
    ++bins[bin];
    ++total;
  });
  if (total > 8 * symbols + (1 << 16)) return;  // every symbol overlaps every other: not a compiler's table

  std::uint32_t sum = 0;  // bins[i] becomes where bin i ends; filling backwards turns it into where it starts
  for (std::uint32_t& bin : bins) bin = sum += bin;
  members_.resize(total);
  each([&](std::size_t bin, std::uint32_t member) { members_[--bins[bin]] = member; });
  bins_ = std::move(bins);
}

SymbolIndex::Entry SymbolIndex::entry(std::uint32_t member) const {
  const SymbolTable& table = image_->symbols[member & kSecondTable ? 1 : 0];
  const Elf64_Sym s = table.at(member & ~kSecondTable);
  return {{s.st_value, s.st_value + s.st_size}, ELF64_ST_TYPE(s.st_info) != STT_OBJECT, &table, s.st_name};
}

}  // namespace fase::core
