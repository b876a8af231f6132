#include "core/elf/module.h"

#include <algorithm>

#include "core/elf/symbols.h"
#include "core/elf/unwind.h"

namespace fase::core {
namespace {

/// Merges functions that overlap; `functions` in any order.
std::vector<Function> merge(std::vector<Function> functions) {
  std::sort(functions.begin(), functions.end(), [](const Function& a, const Function& b) { return a.extent.begin < b.extent.begin; });
  std::vector<Function> out;
  for (const Function& f : functions) {
    if (out.empty() || f.extent.begin >= out.back().extent.end) {
      out.push_back(f);
      continue;
    }
    Function& last = out.back();
    const Address known = last.entries.empty() ? last.extent.begin : last.entries.back();
    if (f.extent.begin != known) last.entries.push_back(f.extent.begin);
    last.extent.end = std::max(last.extent.end, f.extent.end);
    last.landing_pads |= f.landing_pads;
  }
  return out;
}

Extent shifted(Extent e, Address by) { return {e.begin + by, e.end + by}; }

}  // namespace

struct ModuleFunctions::Tables {
  ElfImage image;
  UnwindTable unwind;
  SymbolIndex symbols;
  bool indexed = false;
  Address bias = 0;
};

ModuleFunctions::ModuleFunctions() = default;
ModuleFunctions::~ModuleFunctions() = default;
ModuleFunctions::ModuleFunctions(ModuleFunctions&&) noexcept = default;
ModuleFunctions& ModuleFunctions::operator=(ModuleFunctions&&) noexcept = default;

ModuleFunctions ModuleFunctions::parse(std::span<const std::uint8_t> file, Address bias) {
  ModuleFunctions m;
  m.tables_ = std::make_unique<Tables>();
  m.tables_->image = ElfImage::parse(file);
  m.tables_->unwind = UnwindTable::parse(m.tables_->image);
  m.tables_->bias = bias;
  return m;
}

ModuleFunctions::Tables* ModuleFunctions::loaded() {
  if (tables_ == nullptr) return nullptr;
  if (!tables_->indexed) tables_->symbols.build(tables_->image);
  tables_->indexed = true;
  return tables_.get();
}

std::optional<Symbol> ModuleFunctions::symbol_at(Address a) {
  std::optional<Symbol> best;
  Tables* t = loaded();
  if (t == nullptr) return best;
  const Address link = a - t->bias;
  const char* first = nullptr;
  t->symbols.each_in({link, link + 1}, [&](const SymbolIndex::Entry& e) {
    if (!e.function) return;
    const Extent extent = shifted(e.extent, t->bias);
    const bool inner = !best || extent.begin > best->extent.begin || (extent.begin == best->extent.begin && extent.end < best->extent.end);
    const bool same = best && extent.begin == best->extent.begin && extent.end == best->extent.end;
    const std::string_view name = e.text();
    if (!inner && !(same && name.data() < first)) return;
    best = Symbol{extent, name};
    first = name.data();
  });
  return best;
}

std::vector<Function> ModuleFunctions::functions_in(Extent range) {
  std::vector<Function> found;
  Tables* t = loaded();
  if (t == nullptr || range.end <= range.begin) return found;
  const Extent link = shifted(range, -t->bias);
  t->unwind.functions_in(t->image, link, found);
  t->symbols.each_in(link, [&](const SymbolIndex::Entry& e) {
    if (e.function) found.push_back({e.extent, false, {}});
  });
  found = merge(std::move(found));
  for (Function& f : found) {
    f.extent = shifted(f.extent, t->bias);
    for (Address& entry : f.entries) entry += t->bias;
  }
  return found;
}

std::vector<Extent> ModuleFunctions::data_in(Extent range) {
  std::vector<Extent> found, out;
  Tables* t = loaded();
  if (t == nullptr || range.end <= range.begin) return out;
  t->symbols.each_in(shifted(range, -t->bias), [&](const SymbolIndex::Entry& e) {
    if (!e.function) found.push_back(shifted(e.extent, t->bias));
  });
  std::sort(found.begin(), found.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (const Extent& e : found) {
    if (out.empty() || e.begin > out.back().end) out.push_back(e);
    else out.back().end = std::max(out.back().end, e.end);
  }
  return out;
}

std::vector<Extent> ModuleFunctions::code() const {
  std::vector<Extent> out;
  if (tables_ == nullptr) return out;
  for (const Extent& e : tables_->image.code) out.push_back(shifted(e, tables_->bias));
  return out;
}

}  // namespace fase::core
