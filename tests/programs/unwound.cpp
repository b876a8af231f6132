// Signals whose handlers are left by an exception, look at the stack, or send control elsewhere. Prints nothing that depends on the mode or on time.
//   unwound fault      an FMA of a straight run loads from a closed page: the handler throws, the caller catches, a hundred times
//   unwound timer      a handler of a timer throws out of a loop of FMAs, until it was caught a hundred times
//   unwound plain      the same with a handler that gets no siginfo
//   unwound backtrace  what a handler of SIGSEGV, of a fault beside any FMA, finds on the stack
//   unwound preempt    the handler of a timer sends control to code that goes on where the loop was interrupted
// fma-sites: 4 + 3
#pragma GCC optimize("non-call-exceptions")
#include <execinfo.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

namespace {

volatile sig_atomic_t armed;

void unblock(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

void throw_it(int signal) {
  if (signal == SIGALRM && !armed) return;
  armed = 0;
  unblock(signal);
  throw signal;
}
void throw_with_info(int signal, siginfo_t*, void*) { throw_it(signal); }

void handle(int signal, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  sigaction(signal, &action, nullptr);
}

void every(long microseconds) {
  const itimerval interval{{0, microseconds}, {0, microseconds}};
  setitimer(ITIMER_REAL, &interval, nullptr);
}

[[gnu::noinline]] void straight(const float* p) {
  asm volatile(
      "vfmadd231ps %%xmm2, %%xmm1, %%xmm0\nvfmadd231ps %%xmm2, %%xmm1, %%xmm0\nvfmadd231ps (%0), %%xmm1, %%xmm0\nvfmadd231ps %%xmm2, %%xmm1, %%xmm0"
      :
      : "r"(p)
      : "xmm0", "memory");
}

long damage;

// Leaves in `damage` what has become of the registers that it does not use.
[[gnu::noinline]] void loop(long n, float* out) {
  const float factor = 1 + 0x1p-9f;
  asm volatile(
      ".irp r, rax, rbx, rcx, rsi, r8, r9, r10, r11, r12, r13, r14, r15\nmov $0x1234567, %%\\r\n.endr\n"
      ".globl loop_begin, loop_end\nvbroadcastss %[factor], %%ymm1\nvxorps %%ymm0, %%ymm0, %%ymm0\nvxorps %%ymm2, %%ymm2, %%ymm2\nloop_begin:\n1:\n"
      "vfmadd231ps %%ymm1, %%ymm1, %%ymm0\nvfnmadd231ps %%ymm1, %%ymm1, %%ymm0\nvfmadd213ps %%ymm1, %%ymm0, %%ymm2\ndec %[n]\njnz 1b\n"
      "loop_end:\nvaddps %%ymm2, %%ymm0, %%ymm0\nvaddps %%ymm1, %%ymm0, %%ymm0\nvmovups %%ymm0, (%[out])\nvzeroupper\n"
      ".irp r, rax, rbx, rcx, rsi, r8, r9, r10, r11, r12, r13, r14, r15\nsub $0x1234567, %%\\r\nor %%\\r, %[damage]\n.endr"
      : [n] "+d"(n), [damage] "+m"(damage)
      : [out] "D"(out), [factor] "m"(factor)
      : "rax", "rbx", "rcx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "memory", "cc");
}
extern "C" char loop_begin[], loop_end[];

template <typename Work>
[[gnu::noinline]] int caught(Work work, long a, long b, long c, long d, long e) {
  const long before = a * 3 + b * 5 + c * 7 + d * 11 + e * 13;  // all live across the call, in registers that it must keep
  int signal = 0;
  try {
    work();
  } catch (int number) {
    signal = number;
  }
  return a * 3 + b * 5 + c * 7 + d * 11 + e * 13 == before ? signal : -1;
}

void count_frames(int, siginfo_t*, void*) {
  void* addresses[64];
  const int n = backtrace(addresses, 64);
  char** names = backtrace_symbols(addresses, n);
  int seen = 0;
  for (int i = 0; i < n; ++i) seen += std::strstr(names[i], "unwound(") != nullptr;
  std::printf("frames of the program: %s\n", seen >= 4 ? "all" : "missing");
  std::fflush(stdout);
  _exit(seen >= 4 ? 0 : 1);
}

extern "C" char go_on[];
asm(".text\ngo_on: jmp *interrupted_address(%rip)\n.data\ninterrupted_address: .quad 0\n.text");
extern "C" greg_t interrupted_address;

void preempt(int, siginfo_t*, void* raw) {
  greg_t& rip = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs[REG_RIP];
  if (rip < reinterpret_cast<greg_t>(loop_begin) || rip >= reinterpret_cast<greg_t>(loop_end)) return;
  interrupted_address = rip;
  rip = reinterpret_cast<greg_t>(go_on);
  armed = armed + 1;
}

int run_timer() {
  every(500);
  for (int i = 0; i < 100;) {
    const int signal = caught(
        [] {
          float out[8];
          armed = 1;
          loop(1000000, out);
          armed = 0;
        },
        1, 2, 3, 4, 5);
    if (signal != 0 && signal != SIGALRM) return 1;
    i += signal == SIGALRM;
  }
  every(0);
  std::printf("caught\n");
  return 0;
}

int run_preempt() {
  float expected[8], out[8];
  loop(20000, expected);
  handle(SIGALRM, preempt);
  every(500);
  int bad = 0;
  for (int i = 0; i < 1000000 && armed < 200; ++i) {
    loop(20000, out);
    bad += std::memcmp(expected, out, sizeof out) != 0 || damage != 0;
  }
  every(0);
  std::printf("preempted %s, wrong %d\n", armed >= 200 ? "often" : "never", bad);
  return bad != 0 || armed < 200;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string scenario = argv[1];
  auto* page = static_cast<float*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (scenario == "fault") {
    handle(SIGSEGV, throw_with_info);
    for (int i = 0; i < 100; ++i)
      if (caught([page] { straight(page); }, 1, 2, 3, 4, i) != SIGSEGV) return 1;
    std::printf("caught\n");
    return 0;
  }
  if (scenario == "timer") {
    handle(SIGALRM, throw_with_info);
    return run_timer();
  }
  if (scenario == "plain") {
    signal(SIGALRM, throw_it);
    return run_timer();
  }
  if (scenario == "backtrace") {
    handle(SIGSEGV, count_frames);
    caught([page] { *static_cast<volatile float*>(page) = 1; }, 1, 2, 3, 4, 5);
    return 1;
  }
  if (scenario == "preempt") return run_preempt();
  return 2;
}
