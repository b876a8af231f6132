#include "core/elf/unwind.h"

#include <algorithm>
#include <optional>

namespace fase::core {
namespace {

// DWARF pointer encodings (LSB: Exception Frames).
constexpr std::uint8_t kPcRelSdata4 = 0x1b, kDataRelSdata4 = 0x3b, kUdata4 = 0x03, kOmit = 0xff;

/// A cursor over DWARF data; after a read past the end `ok` is false and everything reads as zero.
struct Cursor {
  Bytes bytes;
  std::size_t at = 0;
  bool ok = true;

  template <typename T>
  T take() {
    T value{};
    if (!read_at(bytes, at, value)) {
      ok = false;
      return T{};
    }
    at += sizeof(T);
    return value;
  }
  std::uint64_t uleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; ok; shift += 7) {
      const auto byte = take<std::uint8_t>();
      if (shift < 64) value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (!(byte & 0x80)) break;
    }
    return value;
  }
};

/// Bytes that a pointer of this encoding takes; 0 for those with variable length.
std::size_t pointer_size(std::uint8_t encoding) {
  switch (encoding & 0x0f) {
    case 0x00:
    case 0x04:
    case 0x0c: return 8;
    case 0x03:
    case 0x0b: return 4;
    case 0x02:
    case 0x0a: return 2;
    default: return 0;
  }
}

/// What a CIE says about the FDEs that refer to it.
struct Cie {
  std::uint8_t pc_encoding = 0;  // DW_EH_PE_absptr
  std::uint8_t lsda_encoding = kOmit;
  bool has_augmentation = false;
};

std::optional<Cie> parse_cie(Bytes at) {
  Cursor c{at};
  c.take<std::uint32_t>();  // length
  const auto id = c.take<std::uint32_t>();
  const auto version = c.take<std::uint8_t>();
  if (!c.ok || id != 0 || (version != 1 && version != 3)) return {};
  char augmentation[8] = {};
  std::size_t n = 0;
  for (char letter; (letter = static_cast<char>(c.take<std::uint8_t>())) != 0; ++n) {
    if (n + 1 == sizeof augmentation) return {};
    augmentation[n] = letter;
  }
  c.uleb();  // code alignment
  c.uleb();  // data alignment
  c.uleb();  // return address register (one byte in version 1: the same for registers below 128)
  Cie cie;
  if (augmentation[0] != 'z') return n == 0 && c.ok ? std::optional(cie) : std::nullopt;
  cie.has_augmentation = true;
  c.uleb();
  for (const char* letter = augmentation + 1; *letter; ++letter) {
    if (*letter == 'R') {
      cie.pc_encoding = c.take<std::uint8_t>();
    } else if (*letter == 'L') {
      cie.lsda_encoding = c.take<std::uint8_t>();
    } else if (*letter == 'P') {
      const std::size_t size = pointer_size(c.take<std::uint8_t>());
      if (size == 0) return {};
      c.at += size;
    } else if (*letter != 'S' && *letter != 'B') {
      return {};
    }
  }
  return c.ok ? std::optional(cie) : std::nullopt;
}

/// The function that the FDE at link address `at` describes; `begin` is what the search table says it starts at.
std::optional<Function> parse_fde(const ElfImage& image, Address at, Address begin) {
  Cursor c{image.at(at)};
  const auto length = c.take<std::uint32_t>();
  const auto back = c.take<std::uint32_t>();
  if (!c.ok || length == 0 || length == 0xffffffff || back == 0) return {};
  const std::optional<Cie> cie = parse_cie(image.at(at + 4 - back));
  if (!cie) return {};
  std::uint64_t size = 0;
  if (pointer_size(cie->pc_encoding) == 4) {
    c.take<std::uint32_t>();
    size = c.take<std::uint32_t>();
  } else if (pointer_size(cie->pc_encoding) == 8) {
    c.take<std::uint64_t>();
    size = c.take<std::uint64_t>();
  }
  Function f;
  f.extent = {begin, begin + size};
  if (!c.ok || size == 0 || f.extent.end < begin) return {};
  if (cie->has_augmentation && cie->lsda_encoding != kOmit && c.uleb() != 0) {
    f.landing_pads = pointer_size(cie->lsda_encoding) == 4 ? c.take<std::uint32_t>() != 0 : true;
  }
  return f;
}

}  // namespace

UnwindTable UnwindTable::parse(const ElfImage& image) {
  UnwindTable table;
  const Elf64_Phdr* segment = image.segment(PT_GNU_EH_FRAME);
  if (segment == nullptr) return table;
  Cursor c{image.at(segment->p_vaddr)};
  const auto version = c.take<std::uint8_t>();
  const auto frame_encoding = c.take<std::uint8_t>();
  const auto count_encoding = c.take<std::uint8_t>();
  const auto table_encoding = c.take<std::uint8_t>();
  c.take<std::uint32_t>();  // .eh_frame itself: the table leads to each entry
  const auto count = c.take<std::uint32_t>();
  if (!c.ok || version != 1 || frame_encoding != kPcRelSdata4 || count_encoding != kUdata4 || table_encoding != kDataRelSdata4) return table;
  table.entries_ = slice(c.bytes, c.at, std::uint64_t{count} * kEntry);
  table.header_ = segment->p_vaddr;
  return table;
}

Address UnwindTable::code_at(std::size_t i) const {
  std::int32_t offset = 0;
  read_at(entries_, i * kEntry, offset);
  return header_ + static_cast<Address>(static_cast<std::int64_t>(offset));
}

Address UnwindTable::fde_at(std::size_t i) const {
  std::int32_t offset = 0;
  read_at(entries_, i * kEntry + 4, offset);
  return header_ + static_cast<Address>(static_cast<std::int64_t>(offset));
}

void UnwindTable::functions_in(const ElfImage& image, Extent range, std::vector<Function>& out) const {
  std::size_t low = 0, high = size();  // the first entry that starts after range.begin
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (code_at(middle) > range.begin) high = middle;
    else low = middle + 1;
  }
  for (std::size_t i = low == 0 ? 0 : low - 1; i < size() && code_at(i) < range.end; ++i) {
    const std::optional<Function> f = parse_fde(image, fde_at(i), code_at(i));
    if (f && f->extent.begin < range.end && f->extent.end > range.begin) out.push_back(*f);
  }
}

}  // namespace fase::core
