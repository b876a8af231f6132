// What each thread owns: scratch that emitted code reaches as fs:[disp32], and a block of counters in the record file.
#pragma once
#include <signal.h>

#include <cstddef>
#include <cstdint>

#include "core/region/translate.h"
#include "runtime/streams.h"

namespace fase::runtime {

// Initial-exec TLS: a constant displacement from fs in every thread. FASE_VECTOR_SLOTS comes from the build (native/CMakeLists.txt).
struct alignas(64) ThreadBlock {
  std::uint8_t vectors[FASE_VECTOR_SLOTS][64];
  std::uint64_t words[16];
#ifndef FASE_LATE
  alignas(64) std::uint8_t totals[32 * 64 + 32 * 8];  // chunked accumulation; a late library has no room for them
#endif
  std::uint64_t* counters;  // this thread's counter block; null until its first region
  Streams* random;          // this thread's streams of random bits; null when `counters` is
  bool segv_blocked;        // the program believes SIGSEGV to be blocked
  bool segv_pending;        // one was sent meanwhile
  bool has_guest_stack;     // the program has set an alternate signal stack of its own
  stack_t guest_stack;      // that stack
  void* engine_stack;       // ours, kSignalStack bytes: see adopt_thread
  core::Address handler;    // stack pointer of a handler of the program's that was called from there: until it returns frames lie there; 0: none
};
static_assert(FASE_VECTOR_SLOTS > 12 || sizeof(ThreadBlock) <= 1024);  // what a late library can get

extern __attribute__((visibility("hidden"), tls_model("initial-exec"))) thread_local ThreadBlock thread_block;

class Record;

/// Bytes of the alternate stack each thread's faults are taken on: a signal frame (AMX state included) and a few small functions.
inline constexpr std::size_t kSignalStack = 32 * 1024;

/// Gives the calling thread its counters, its signal stack and its random streams. Under the engine's lock, or with no other thread.
///
/// Faults must not push frames on the program's stack: oneDNN's sgemm kernels point rsp at a heap block and keep data below, others leave no
/// room for a frame. The stack disarms itself while a handler runs (SS_AUTODISARM), so a handler of the program may be moved to the program's
/// own stack and be interrupted again.
void adopt_thread(Record& record, std::uint32_t number = next_thread_number());

/// The same for the only thread of a child process, whose random streams go on.
void adopt_after_fork(Record& record);

/// As the kernel wants it: the calling thread's engine stack.
stack_t engine_signal_stack();

/// sigaltstack as the program sees it: 0 or -errno.
long guest_sigaltstack(const stack_t* stack, stack_t* old);

/// Where the block's fields are, seen from emitted code.
core::Scratch scratch_layout();

}  // namespace fase::runtime
