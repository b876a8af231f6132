// System calls without libc: the agent runs inside fault handlers and inside hooks of libc's own functions, where errno, cancellation points and
// interposed wrappers must not be touched. Results are as the kernel gives them: -errno on failure.
#pragma once
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

namespace fase::runtime::sys {

inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}

inline bool failed(long result) { return result < 0 && result > -4096; }

inline long map(std::uint64_t address, std::size_t size, int protection, int flags, int fd = -1, long offset = 0) {
  return call(SYS_mmap, static_cast<long>(address), static_cast<long>(size), protection, flags, fd, offset);
}
inline long unmap(std::uint64_t address, std::size_t size) { return call(SYS_munmap, static_cast<long>(address), static_cast<long>(size)); }
inline long protect(std::uint64_t address, std::size_t size, int protection) {
  return call(SYS_mprotect, static_cast<long>(address), static_cast<long>(size), protection);
}
inline constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, newer than the headers of some systems
inline long advise(std::uint64_t address, std::size_t size, int advice) {
  return call(SYS_madvise, static_cast<long>(address), static_cast<long>(size), advice);
}
inline long open(const char* path, int flags, int mode = 0) { return call(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), flags, mode); }
inline long close(int fd) { return call(SYS_close, fd); }
inline long read(int fd, void* out, std::size_t n) { return call(SYS_read, fd, reinterpret_cast<long>(out), static_cast<long>(n)); }
inline long write(int fd, const void* p, std::size_t n) { return call(SYS_write, fd, reinterpret_cast<long>(p), static_cast<long>(n)); }
inline long pwrite(int fd, const void* p, std::size_t n, long offset) {
  return call(SYS_pwrite64, fd, reinterpret_cast<long>(p), static_cast<long>(n), offset);
}
inline long pread(int fd, void* out, std::size_t n, long offset) {
  return call(SYS_pread64, fd, reinterpret_cast<long>(out), static_cast<long>(n), offset);
}
inline long truncate(int fd, long size) { return call(SYS_ftruncate, fd, size); }
inline int process() { return static_cast<int>(call(SYS_getpid)); }
inline int thread() { return static_cast<int>(call(SYS_gettid)); }
inline long signal_thread(int pid, int tid, int sig) { return call(SYS_tgkill, pid, tid, sig); }
[[noreturn]] inline void exit_group(int status) {
  for (;;) call(SYS_exit_group, status);
}

/// The kernel's own sigaction; libc's has another layout.
struct KernelSigaction {
  void* handler;
  unsigned long flags;
  void (*restorer)();
  std::uint64_t mask;
};
inline long sigaction(int sig, const KernelSigaction* action, KernelSigaction* old) {
  return call(SYS_rt_sigaction, sig, reinterpret_cast<long>(action), reinterpret_cast<long>(old), 8);
}
inline long signal_mask(int how, const std::uint64_t* set, std::uint64_t* old) {
  return call(SYS_rt_sigprocmask, how, reinterpret_cast<long>(set), reinterpret_cast<long>(old), 8);
}
constexpr std::uint64_t signal_bit(int sig) { return std::uint64_t{1} << (sig - 1); }

inline std::uint64_t nanoseconds(int clock) {
  timespec t{};
  call(SYS_clock_gettime, clock, reinterpret_cast<long>(&t));
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(t.tv_nsec);
}

/// Memory of our own, far from code, whose neighbourhood (rel32) is scarce. The address is only a hint: the kernel may choose another.
inline long map_far(std::size_t size, int protection, int flags, int fd = -1) {
  static std::uint64_t next = std::uint64_t{0x1000'0000'0000};
  constexpr std::uint64_t kAlign = std::uint64_t{2} << 20;
  std::uint64_t hint = __atomic_fetch_add(&next, (size + kAlign - 1) & ~(kAlign - 1), __ATOMIC_RELAXED);
  return map(hint, size, protection, flags, fd);
}

inline constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t page_of(std::uint64_t a) { return a & ~(kPage - 1); }
constexpr std::uint64_t page_up(std::uint64_t a) { return (a + kPage - 1) & ~(kPage - 1); }

}  // namespace fase::runtime::sys
