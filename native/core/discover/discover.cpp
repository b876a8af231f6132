#include "core/discover/discover.h"

#include <algorithm>

#include "core/discover/walk.h"

namespace fase::core {
namespace {

/// How far around the touched pages code of unknown extent is looked at.
constexpr Address kReach = 64 << 10;

Extent around(Extent pages, Extent bounds) {
  const Address begin = pages.begin > kReach ? pages.begin - kReach : 0, end = pages.end + kReach;
  return {std::max(begin, bounds.begin), std::max(std::min(end, bounds.end), std::max(begin, bounds.begin))};
}

}  // namespace

Discovery discover_function(const CodeView& code, const Function& function) {
  Walk walk(code, function.extent);
  if (!walk.any_fma()) return {};
  walk.descend(function.extent.begin, true);
  for (const Address entry : function.entries) walk.descend(entry, true);
  if (walk.incomplete() || function.landing_pads) walk.sweep_gaps(walk.window(), Walk::Evidence::function);
  return walk.result(walk.window());
}

Discovery discover_from(const CodeView& code, Address entry, Extent bounds, Extent pages) {
  Walk walk(code, around(pages, bounds));
  if (walk.window().size() == 0) return {};
  walk.descend(entry, true);
  walk.sweep_gaps(pages, Walk::Evidence::orphan);
  return walk.result(pages);
}

}  // namespace fase::core
