// Formats by table: the files KEY.fasetab in the folder of the option `directory` (docs/operators.md), read when an operator names them and kept.
#pragma once
#include <string>
#include <string_view>

#include "core/numerics/lookup.h"

namespace fase::runtime {

/// The tables in `directory`. Under the engine's lock, or before there is one.
core::TableSource& tables_in(std::string_view directory);

}  // namespace fase::runtime
