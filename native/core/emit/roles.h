// Which of a, b, c each operand of an FMA instruction is, by its 132/213/231 form, and so which format it is rounded to.
#pragma once
#include "core/decode/decode.h"
#include "core/numerics/operator.h"

namespace fase::core {

struct Roles {
  const Format* formats[3];  // of operands 0, 1, 2
  std::uint8_t role[3];      // 0: a, 1: b, 2: c
  const Format& format(int operand) const { return *formats[operand]; }
};

/// Refers to `op`.
inline Roles roles_of(const FmaInfo& fma, const Operator& op) {
  switch (fma.form) {
    case 0: return {{&op.a, &op.c, &op.b}, {0, 2, 1}};   // 132: op0 * op2 + op1
    case 1: return {{&op.b, &op.a, &op.c}, {1, 0, 2}};   // 213: op1 * op0 + op2
    default: return {{&op.c, &op.a, &op.b}, {2, 0, 1}};  // 231: op1 * op2 + op0
  }
}

}  // namespace fase::core
