// Loops of 256-bit FMAs made 512 bits wide: two accumulators share one register, so one rounding serves both.
//
//   vbroadcastss ymm2, [b]                vbroadcastss zmm2, [b]
//   vmovups      ymm0, [a]                vmovups      zmm0, [a]              lower half: ymm0, upper half: ymm1
//   vmovups      ymm1, [a+32]        ->
//   vfmadd231ps  ymm4, ymm2, ymm0         vfmadd231ps  zmm4, zmm2, zmm0       lower half: ymm4, upper half: ymm5
//   vfmadd231ps  ymm5, ymm2, ymm1
//
// A register that both of a pair read is a *splat*: it holds the same 256 bits twice. What is no FMA runs as it is, on the program's own registers; a
// value that is in the wrong place then is moved first (vinsertf32x8, vextractf32x8). Every lane computes what it did before, so results, counts and
// flags stay the same, and at every instruction that may fault the halves add up to a state that the program could be resumed from.
#pragma once
#include "core/region/trace.h"

namespace fase::core {

/// The same loop with its pairs made wide, or false where there is nothing to gain. `trace` is a loop.
bool widen(Trace& trace);

}  // namespace fase::core
