#include "lab/discover_lab.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "core/discover/discover.h"
#include "core/elf/image.h"
#include "core/elf/module.h"
#include "core/scope/scope.h"

#define EXPORT __attribute__((visibility("default")))

using namespace fase::core;

namespace {

struct Range {
  Address begin;
  Bytes bytes;
  bool constant;
};

template <typename T, typename From, typename Convert>
std::size_t fill(const std::vector<From>& from, T* out, std::size_t capacity, Convert convert) {
  for (std::size_t i = 0; i < from.size() && i < capacity; ++i) out[i] = convert(from[i]);
  return from.size();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

FaseLabExtent lab_extent(const Extent& e) { return {e.begin, e.end}; }

}  // namespace

struct FaseLabImage final : CodeView, ConstantMemory {
  std::vector<Range> ranges;
  ModuleFunctions module;
  const Discovery* code_of = nullptr;  // set: what it doesn't cover is constant

  const Range* range_of(Address a) const {
    for (const Range& r : ranges)
      if (a >= r.begin && a - r.begin < r.bytes.size()) return &r;
    return nullptr;
  }
  std::size_t read(Address at, std::uint8_t* out, std::size_t n) const override {
    const Range* r = range_of(at);
    if (r == nullptr) return 0;
    const std::size_t offset = at - r->begin;
    n = std::min(n, r->bytes.size() - offset);
    std::memcpy(out, r->bytes.data() + offset, n);
    return n;
  }
  bool is_constant(Address a) const override {
    const Range* r = range_of(a);
    if (r == nullptr) return false;
    if (code_of == nullptr) return r->constant;
    return std::none_of(code_of->covered.begin(), code_of->covered.end(), [&](const Extent& e) { return e.contains(a); });
  }
};

struct FaseLabResult {
  Discovery found;
};

extern "C" {

EXPORT FaseLabImage* fase_lab_image_new() { return new FaseLabImage; }
EXPORT void fase_lab_image_free(FaseLabImage* image) { delete image; }

EXPORT void fase_lab_image_add(FaseLabImage* image, std::uint64_t address, const std::uint8_t* bytes, std::size_t n, int constant) {
  image->ranges.push_back({address, Bytes(bytes, n), constant != 0});
}

EXPORT std::size_t fase_lab_image_add_elf(FaseLabImage* image, const std::uint8_t* file, std::size_t n, std::uint64_t bias) {
  const ElfImage elf = ElfImage::parse(Bytes(file, n));
  for (const Elf64_Phdr& p : elf.segments) {
    const Bytes bytes = slice(elf.file, p.p_offset, p.p_filesz);
    if (p.p_type == PT_LOAD && !bytes.empty()) image->ranges.push_back({p.p_vaddr + bias, bytes, (p.p_flags & PF_W) == 0});
  }
  image->module = ModuleFunctions::parse(Bytes(file, n), bias);
  return image->module.code().size();
}

EXPORT std::size_t fase_lab_functions(FaseLabImage* image, std::uint64_t begin, std::uint64_t end, FaseLabFunction* out, std::size_t capacity) {
  return fill(image->module.functions_in({begin, end}), out, capacity, [](const Function& f) {
    return FaseLabFunction{f.extent.begin, f.extent.end, f.landing_pads, static_cast<std::uint32_t>(f.entries.size())};
  });
}

EXPORT std::size_t fase_lab_code(FaseLabImage* image, FaseLabExtent* out, std::size_t capacity) {
  return fill(image->module.code(), out, capacity, lab_extent);
}

EXPORT std::size_t fase_lab_data(FaseLabImage* image, std::uint64_t begin, std::uint64_t end, FaseLabExtent* out, std::size_t capacity) {
  return fill(image->module.data_in({begin, end}), out, capacity, lab_extent);
}

EXPORT std::size_t fase_lab_symbol_at(FaseLabImage* image, std::uint64_t a, FaseLabExtent* extent, char* out, std::size_t capacity) {
  const std::optional<Symbol> symbol = image->module.symbol_at(a);
  if (!symbol) return 0;
  *extent = lab_extent(symbol->extent);
  std::memcpy(out, symbol->name.data(), std::min(capacity, symbol->name.size()));
  return symbol->name.size();
}

EXPORT FaseLabResult* fase_lab_discover_function(FaseLabImage* image, std::uint64_t begin, std::uint64_t end, int landing_pads,
                                                 const std::uint64_t* entries, std::size_t entry_count) {
  const Function function{{begin, end}, landing_pads != 0, std::vector<Address>(entries, entries + entry_count)};
  return new FaseLabResult{discover_function(*image, function)};
}

EXPORT FaseLabResult* fase_lab_discover_from(FaseLabImage* image, std::uint64_t entry, FaseLabExtent bounds, FaseLabExtent pages) {
  return new FaseLabResult{discover_from(*image, entry, {bounds.begin, bounds.end}, {pages.begin, pages.end})};
}

EXPORT void fase_lab_result_free(FaseLabResult* result) { delete result; }

EXPORT std::size_t fase_lab_result_sites(FaseLabImage* image, FaseLabResult* result, int constants_outside_code, FaseLabSite* out,
                                         std::size_t capacity) {
  image->code_of = constants_outside_code ? &result->found : nullptr;
  const std::vector<Address> polynomial = polynomial_sites(*image, result->found, *image, true);
  image->code_of = nullptr;
  return fill(result->found.sites, out, capacity, [&](const Site& s) {
    const bool p = std::binary_search(polynomial.begin(), polynomial.end(), s.at);
    return FaseLabSite{s.at, s.length, s.fp64, p, static_cast<std::uint8_t>(s.bf16), {}, 0};
  });
}

EXPORT std::size_t fase_lab_result_unconfirmed(FaseLabResult* result, std::uint64_t* out, std::size_t capacity) {
  return fill(result->found.unconfirmed, out, capacity, [](Address a) { return a; });
}

EXPORT std::size_t fase_lab_result_covered(FaseLabResult* result, FaseLabExtent* out, std::size_t capacity) {
  return fill(result->found.covered, out, capacity, lab_extent);
}

EXPORT std::size_t fase_lab_survey(FaseLabImage* image, std::uint64_t begin, std::uint64_t end, FaseLabSite* out, std::size_t capacity,
                                   double* seconds) {
  std::size_t total = 0;
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Function> functions = image->module.functions_in({begin, end});
  seconds[0] = seconds_since(start);
  seconds[1] = seconds[2] = 0;
  for (const Function& f : functions) {
    const auto before = std::chrono::steady_clock::now();
    const Discovery found = discover_function(*image, f);
    seconds[1] += seconds_since(before);
    const auto between = std::chrono::steady_clock::now();
    const std::vector<Address> polynomial = polynomial_sites(*image, found, *image, true);
    seconds[2] += seconds_since(between);
    for (const Site& s : found.sites) {
      const bool p = std::binary_search(polynomial.begin(), polynomial.end(), s.at);
      if (total < capacity) out[total] = {s.at, s.length, s.fp64, p, static_cast<std::uint8_t>(s.bf16), {}, f.extent.begin};
      ++total;
    }
  }
  return total;
}

EXPORT int fase_lab_is_transcendental(const char* function, const char* library, std::size_t fmas) {
  return is_transcendental(function, library, fmas);
}
EXPORT int fase_lab_looks_like_fma(const std::uint8_t* p, std::size_t n) { return looks_like_fma(p, n); }
EXPORT int fase_lab_any_fma_pattern(const std::uint8_t* p, std::size_t n, std::size_t tail) { return any_fma_pattern(p, n, tail); }

}  // extern "C"
