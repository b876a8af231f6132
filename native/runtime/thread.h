// What each thread owns: scratch that emitted code reaches as fs:[disp32], and a block of counters in the record file.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/region/translate.h"

namespace fase::runtime {

// Initial-exec TLS: a constant displacement from fs in every thread. A library loaded into a running interpreter gets about 1.4 KB of static TLS
// from glibc 2.36, so the whole block stays within 1 KB.
struct alignas(64) ThreadBlock {
  std::uint8_t vectors[12][64];
  std::uint64_t words[16];
  std::uint64_t* counters;       // this thread's counter block; null until its first region
  bool segv_blocked;             // the program believes SIGSEGV to be blocked
  bool segv_pending;             // one was sent meanwhile
};
static_assert(sizeof(ThreadBlock) <= 1024);

extern __attribute__((visibility("hidden"), tls_model("initial-exec"))) thread_local ThreadBlock thread_block;

/// Where the block's fields are, seen from emitted code.
core::Scratch scratch_layout();

}  // namespace fase::runtime
