// Whether a register may hold a rounded value in place of its own: what the rest of the trace does with it.
#pragma once
#include "core/emit/roles.h"
#include "core/region/analysis.h"

namespace fase::core {

struct InPlace {
  bool possible = false;   // until it is replaced, only FMAs that round it to this format read it
  bool save = false;       // control can leave before it is replaced: the plain value must survive
  std::uint16_t bits = 0;  // widest use
};

class LookAhead {
 public:
  LookAhead(const Trace& trace, const Analysis& analysis, const Operator& op) : trace_(trace), analysis_(analysis), op_(op) {}

  /// Register r, a source of the FMA at `step` in a role of format f.
  InPlace source(int r, std::size_t step, const Format& f, unsigned bits) const;
  /// Register r, just replaced by the instruction at `step`. `f`: the format all its readers want.
  InPlace loaded(int r, std::size_t step, Format& f) const;
  /// May r hold round(r, f) when `step` executes? `ends`: the step replaces r, nothing later matters. `first`: the FMA that asks.
  bool allows(const Step& step, int r, const Format& f, bool first, bool& ends, std::uint16_t& bits) const;

 private:
  const Trace& trace_;
  const Analysis& analysis_;
  const Operator& op_;
};

}  // namespace fase::core
