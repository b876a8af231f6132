// What the code behind a loop does with the arithmetic flags.
#pragma once
#include "core/region/reader.h"
#include "core/region/trace.h"

namespace fase::core {

/// Finds out which flags that pass through the loop nobody reads behind its exits (Step::dead). The code that says so joins `trace.guest`.
void find_dead_flags(Reader& reader, Trace& trace);

}  // namespace fase::core
