// Which format each operand of an FMA instruction is rounded to, by its 132/213/231 form.
#pragma once
#include "core/decode/decode.h"
#include "core/numerics/operator.h"

namespace fase::core {

struct Roles {
  Format format[3];  // of operands 0, 1, 2
};

inline Roles roles_of(const FmaInfo& fma, const Operator& op) {
  switch (fma.form) {
    case 0: return {{op.a, op.c, op.b}};   // 132: op0 * op2 + op1
    case 1: return {{op.b, op.a, op.c}};   // 213: op1 * op0 + op2
    default: return {{op.c, op.a, op.b}};  // 231: op1 * op2 + op0
  }
}

}  // namespace fase::core
