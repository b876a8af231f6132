// Which operators the emitters have.
#pragma once
#include <string>

#include "core/numerics/operator.h"

namespace fase::core {

/// Why `op` cannot be emitted, in a few words; empty when it can. With AVX2 alone some operators cannot that can with AVX-512.
std::string obstacle(const Operator& op, bool avx512);

}  // namespace fase::core
