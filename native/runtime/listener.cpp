#include "runtime/listener.h"

#include <sched.h>
#include <sys/prctl.h>

#include <atomic>

#include "runtime/engine.h"

namespace fase::runtime {
namespace {

constexpr std::size_t kStackBytes = 128 * 1024;
constexpr std::size_t kTlsBytes = 4096;  // where fs points: what the compiler reads there itself (a stack protector's canary) can be read

std::atomic<bool> running;

/// As clone(2), with a stack and an fs of the thread's own. In the new thread `entry(argument)`, which must not return. Thread id or -errno.
long clone_thread(std::uint8_t* stack_top, std::uint8_t* fs, void (*entry)(void*), void* argument) {
  auto* words = reinterpret_cast<void**>(stack_top) - 2;
  words[0] = reinterpret_cast<void*>(entry);
  words[1] = argument;
  long result = SYS_clone;
  long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS;
  register long r10 asm("r10") = 0;
  register long r8 asm("r8") = reinterpret_cast<long>(fs);
  asm volatile(
      "syscall\n"
      "test %%rax, %%rax\n"
      "jnz 1f\n"
      "pop %%rax\n"
      "pop %%rdi\n"
      "xor %%ebp, %%ebp\n"
      "call *%%rax\n"
      "ud2\n"
      "1:\n"
      : "+a"(result)
      : "D"(flags), "S"(words), "d"(0), "r"(r10), "r"(r8)
      : "rcx", "r11", "memory");
  return result;
}

void listen(void* raw) {
  auto& engine = *static_cast<Engine*>(raw);
  sys::call(SYS_prctl, PR_SET_NAME, reinterpret_cast<long>("fase-control"));
  for (;;) {
    {
      LockedWithoutSignals locked(engine.lock());
      engine.follow_control();
    }
    engine.control().wait();
  }
}

}  // namespace

void start_listener(Engine& engine) {
  if (!engine.control().keeps_thread() || running.exchange(true)) return;
  long memory = sys::map_far(kStackBytes + kTlsBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE);
  if (sys::failed(memory)) return;
  auto* stack_top = reinterpret_cast<std::uint8_t*>(memory) + kStackBytes;
  std::uint8_t* fs = stack_top + kTlsBytes / 2;
  *reinterpret_cast<std::uint8_t**>(fs) = fs;
  if (!sys::failed(clone_thread(stack_top, fs, listen, &engine))) return;
  LockedWithoutSignals locked(engine.lock());
  engine.record().note("no thread that waits for `fase mode` could be started (too many processes?): switches may come late");
}

void listener_after_fork(Engine& engine) {
  if (running.exchange(false)) start_listener(engine);
}

}  // namespace fase::runtime
