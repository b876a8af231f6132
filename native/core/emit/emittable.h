// Which operators the emitters have.
#pragma once
#include <string>

#include "core/numerics/operator.h"

namespace fase::core {

/// Why `op` cannot be emitted, in a few words; empty when it can.
std::string obstacle(const Operator& op);

/// The same for VDPBF16PS under `op`.
std::string dot_obstacle(const Operator& op);

}  // namespace fase::core
