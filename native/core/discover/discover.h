// Finding FMA instructions in guest code: what is an instruction, what only looks like one. BF16 instructions are found with them and go by the
// same name here.
#pragma once
#include <vector>

#include "core/types.h"

namespace fase::core {

/// One confirmed FMA instruction.
struct Site {
  Address at = 0;
  std::uint8_t length = 0;
  bool fp64 = false;
  Bf16 bf16 = Bf16::none;
};

/// A function as symbol tables and unwind tables tell it.
struct Function {
  Extent extent;
  bool landing_pads = false;     // code is also entered by the unwinder
  std::vector<Address> entries;  // further entry points inside (nested symbols), ascending
};

struct Discovery {
  std::vector<Site> sites;           // ascending
  std::vector<Address> unconfirmed;  // FMA byte patterns in the extent that no decoding proved to be instructions
  std::vector<Extent> covered;       // code that was decoded, ascending, merged
  std::size_t instructions = 0;      // in it
  bool constants = false;            // some may come into vector registers there
};

/// True when the bytes at `p` (n readable) start like an FMA (pattern.h). Cheap, no false negative.
bool looks_like_fma(const std::uint8_t* p, std::size_t n);

/// True when any position in [p, p+n) does; `tail` further bytes are readable. For scanning pages at memory speed.
bool any_fma_pattern(const std::uint8_t* p, std::size_t n, std::size_t tail);

/// Sites of a function whose extent is known. Descent from its start; where an indirect jump or landing pads make that incomplete, the gaps are
/// swept linearly. Bytes that a complete descent does not reach are data. A function without a single FMA pattern is not decoded: `covered` is
/// empty then.
Discovery discover_function(const CodeView& code, const Function& function);

/// Sites in code of unknown extent (JIT, stripped assembly): descent from `entry` inside `bounds`, then the gaps that overlap `pages` and read
/// as complete functions (plausible instructions up to a return or jump). `entry` must be an instruction that runs; where none is known, 0: then
/// there is no descent. Looks no further than 64 KiB around `pages`; sites outside `pages` that the descent met are listed too, `unconfirmed` are
/// inside `pages`.
Discovery discover_from(const CodeView& code, Address entry, Extent bounds, Extent pages);

}  // namespace fase::core
