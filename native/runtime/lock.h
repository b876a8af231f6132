// The one lock of the engine. Held only with signals blocked (a fault handler, or a hook that blocks them), so a thread never meets itself.
#pragma once
#include <atomic>
#include <cstdint>

#include "runtime/message.h"
#include "runtime/system.h"

namespace fase::runtime {

class Lock {
 public:
  void acquire() {
    int me = sys::thread();
    FASE_ASSERT(owner_.load(std::memory_order_relaxed) != me);  // a fault inside the engine itself
    std::uint32_t expected = 0;
    if (!state_.compare_exchange_strong(expected, 1, std::memory_order_acquire)) wait();
    owner_.store(me, std::memory_order_relaxed);
  }
  void release() {
    owner_.store(0, std::memory_order_relaxed);
    if (state_.exchange(0, std::memory_order_release) == 2) {
      sys::call(SYS_futex, reinterpret_cast<long>(&state_), FUTEX_WAKE_PRIVATE, 1);
    }
  }
  /// In the child of a fork the owner has another thread id.
  void reset_after_fork() {
    owner_.store(0, std::memory_order_relaxed);
    state_.store(0, std::memory_order_release);
  }
  bool held_by_me() const { return owner_.load(std::memory_order_relaxed) == sys::thread(); }

 private:
  void wait() {
    while (state_.exchange(2, std::memory_order_acquire) != 0) {
      sys::call(SYS_futex, reinterpret_cast<long>(&state_), FUTEX_WAIT_PRIVATE, 2);
    }
  }
  std::atomic<std::uint32_t> state_{0};
  std::atomic<int> owner_{0};
};

/// For hooks: no signal of this thread may run while it holds the lock.
class LockedWithoutSignals {
 public:
  explicit LockedWithoutSignals(Lock& lock) : lock_(lock) {
    std::uint64_t all = ~std::uint64_t{0};
    sys::signal_mask(SIG_SETMASK, &all, &saved_);
    lock_.acquire();
  }
  ~LockedWithoutSignals() {
    lock_.release();
    sys::signal_mask(SIG_SETMASK, &saved_, nullptr);
  }
  LockedWithoutSignals(const LockedWithoutSignals&) = delete;
  LockedWithoutSignals& operator=(const LockedWithoutSignals&) = delete;

 private:
  Lock& lock_;
  std::uint64_t saved_ = 0;
};

}  // namespace fase::runtime
