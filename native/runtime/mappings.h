// The kernel's list of this process's mappings.
#pragma once
#include "core/types.h"

namespace fase::runtime {

struct Mapping {
  core::Extent extent;
  int protection = 0;
  bool shared = false;
  bool special = false;  // [vdso], [vsyscall], [stack]: not the program's to unmap
};

/// Calls `visit(const Mapping&, void*)` for every mapping in /proc/self/maps. Needs no heap. False when the list cannot be read.
bool for_each_mapping(void (*visit)(const Mapping&, void*), void* data);

/// Lets the kernel have those pages of a file that is mapped at `extent` (page aligned) back that nobody has written to in this process. Where the
/// kernel does not say which these are, nothing happens.
void release_unchanged(core::Extent extent);

}  // namespace fase::runtime
