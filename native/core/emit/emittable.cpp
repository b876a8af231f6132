#include "core/emit/emittable.h"

#include "core/emit/dot.h"
#include "core/emit/rounder.h"
#include "core/emit/rounder64.h"

namespace fase::core {
namespace {

std::string obstacle(const Format& f) {
  if (f.lookup != nullptr) return {};
  Format one = f;
  one.literals = 1;
  if (!Rounder::supports(one)) return "a format with steps of 2^" + std::to_string(f.quantum()) + " is not emitted; 2^-123 is the smallest";
  return {};
}

}  // namespace

std::string obstacle(const Operator& op) {
  if (op.fp64.active)
    for (const Format64* f : {&op.fp64.a, &op.fp64.b, &op.fp64.c, &op.fp64.d})
      if (!Rounder64::supports(*f)) return "a format with steps of 2^" + std::to_string(f->quantum()) + " is not emitted; 2^-1019 is the smallest";
  for (const Format* f : {&op.a, &op.b, &op.c, &op.d})
    if (std::string problem = obstacle(*f); !problem.empty()) return problem;
  if (op.is_compound() && op.is_stochastic()) return "stochastic rounding of compound operators is not emitted";
  if (op.is_compound() && op.has_table()) return "compound operators of formats by table are not emitted";
  if (op.is_compound() && op.chunk != 0) return "compound operators do not add up in chunks";
  if (!op.exact || (op.d.is_fp32() && op.d.rounding == Rounding::rne)) return {};
  if (op.d.mantissa_bits >= 22 && op.d.lookup == nullptr) return "'exact' is not emitted for results of more than 21 mantissa bits";
  return {};
}

std::string dot_obstacle(const Operator& op) {
  if (std::string problem = obstacle(op); !problem.empty()) return problem;
  if (op.is_compound()) return "VDPBF16PS has no compound operators";
  if (op.exact) return "VDPBF16PS rounds every sum to FP32, which excludes 'exact'";
  if (op.chunk != 0) return "VDPBF16PS does not add up in chunks";
  if (op.is_stochastic()) return "VDPBF16PS has no stochastic rounding";
  if (op.has_table()) return "VDPBF16PS is not emitted for formats by table";
  for (const Format* f : {&op.a, &op.b})
    if (!DotOperator::rounds_to_bf16(*f)) return "a format of factors of VDPBF16PS ends at a value that BF16 does not hold";
  return {};
}

}  // namespace fase::core
