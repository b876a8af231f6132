// The text form of an operator, version 1 (docs/operators.md).
#pragma once
#include <string>
#include <string_view>

#include "core/numerics/lookup.h"

namespace fase::core {

/// Reads "a,b,c,d" with options, and behind a semicolon the formats of double-precision FMAs; formats by table come from `tables`. Empty, or in one line
/// what is wrong.
std::string operator_from_text(std::string_view text, Operator& out, TableSource& tables);

}  // namespace fase::core
