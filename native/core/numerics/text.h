// The text form of an operator, version 1 (docs/operators.md).
#pragma once
#include <string>
#include <string_view>

#include "core/numerics/operator.h"

namespace fase::core {

/// Reads "a,b,c,d" with options. Empty, or in one line what is wrong.
std::string operator_from_text(std::string_view text, Operator& out);

/// Reads one format. False when it is not one.
bool format_from_text(std::string_view text, Format& out);

}  // namespace fase::core
