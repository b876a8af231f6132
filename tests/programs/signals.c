// A program's own signals. One scenario a run:
//   repair        an FMA in the middle of a straight run loads from a closed page; the handler (on its own stack) looks at what the kernel shows it, opens
//                 the page and returns. It must see the address, the instruction and the registers of its own program: 10 probes, 5 of them before the load
//   repair_load   the same with a plain load between the FMAs
//   repair_store  the same with a store
//   repair_touch  the handler runs code on eight pages that were never touched, each a fault of the engine's, before it returns
//   longjmp       the handler leaves by siglongjmp: 5 probes, a hundred times, each followed by 10 in a healthy run
//   repair_loop   the same in a loop that has run into the page: 10 probes, 9 before the fault; with AVX-512 the opmasks are the program's too
//   bus           the same as repair, by SIGBUS: a file's page beyond its end
//   timer N       an ITIMER_REAL at 1 kHz whose handler runs 12 probes, while a loop computes; the loop's result must be that of the undisturbed loop
//   timer_rip N   the handler looks where the program was interrupted: always in the program's own loop
//   timer_mxcsr N the handler looks at the program's MXCSR, and changes it: it must find, and the program must keep, what was last set there
//   rounding      a timer's handler sets rounding down in a loop of sums, which cancel (AVX-512): they become -0
//   timers N      two timers whose handlers run such a loop too, and may interrupt each other wherever they are; the mask is what they asked for
//   masks         never-touched code entered with all signals blocked, in a handler that blocks all, in a handler of SIGSEGV, in a thread born with all blocked
//   query         what sigaction, signal, sigprocmask and sigaltstack say is what the program had set; SIG_IGN and sent SIGSEGVs work
//   tiny_stack    never-touched code entered on a stack that has no room for a signal frame
//   data_stack    never-touched code entered while the stack pointer points into data, as oneDNN's kernels have it: what lies below it must stay as it is
//   alt_stack     never-touched code entered by a program with a small alternate stack of its own: what lies below it must stay as it is
//   nodefer       SA_NODEFER: a handler that faults and repairs inside the handler; SA_RESETHAND: the second fault kills
//   default       a bad load after 10 probes, without a handler: dies by SIGSEGV
//   abort         dies by SIGABRT after 10 probes
// fma-sites: 10 + 9 + 9 + 12 + 80 + 4 + 2 + 2
#include <cpuid.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "probe.h"

// float NAME(acc, a, b, float *p): `before` probes, the instruction in question, `after` probes, with a pattern in every other register.
#define FAULTING(name, before, insn, after)                                                                                        \
  asm(".pushsection .text.faulting, \"ax\"\n.balign 4096\n.type " #name ", @function\n" #name ":\n"                                \
      "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"                                                          \
      ".irp r, rax, rbx, rcx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15\nmov canary(%rip), %\\r\n.endr\n"                  \
      ".irp i, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\nvmovups canary_vector(%rip), %ymm\\i\n.endr\n"                          \
      ".rept " #before "\n" PROBE_INSN ".endr\n.globl " #name "_at\n" #name "_at:\n" insn "\n.rept " #after "\n" PROBE_INSN ".endr\n" \
      "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nvzeroupper\nret\n.size " #name ", .-" #name "\n.popsection");    \
  extern char name##_at[];                                                                                                         \
  float name(float acc, float a, float b, float *p)
asm(".pushsection .rodata\n.balign 32\ncanary: .quad 0x1122334455667788\ncanary_vector: .long 0x41000001, 0x42000002, 0x43000003, 0x44000004, 0x45000005, "
    "0x46000006, 0x47000007, 0x48000008\n.popsection");
extern const uint64_t canary;
extern const uint32_t canary_vector[8];

FAULTING(fault_fma, 5, "vfmadd231ps (%rdi), %xmm1, %xmm0", 4);
FAULTING(fault_load, 5, "vmovups (%rdi), %xmm2", 4);
FAULTING(fault_store, 5, "vmovups %xmm2, (%rdi)", 4);
PROBES(in_handler, 12, 4096);

// The same as a loop: 2 probes a pass, the second of which loads; five passes, up to 16 bytes into the page at `p` + 64.
asm(".pushsection .text.faulting, \"ax\"\n.balign 4096\n.type fault_loop, @function\nfault_loop:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\nlea 80(%rdi), %rax\nmov %rax, loop_end(%rip)\n"
    ".irp r, rax, rbx, rcx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15\nmov canary(%rip), %\\r\n.endr\n"
    ".irp i, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\nvmovups canary_vector(%rip), %ymm\\i\n.endr\n"
    "cmpl $0, opmask_offset(%rip)\nje 1f\n.irp i, 0, 1, 2, 3, 4, 5, 6, 7\nkmovq canary(%rip), %k\\i\n.endr\n"
    "1:\n" PROBE_INSN ".globl fault_loop_at\nfault_loop_at:\nvfmadd231ps (%rdi), %xmm1, %xmm0\nadd $16, %rdi\ncmp loop_end(%rip), %rdi\njne 1b\n"
    "cmpl $0, opmask_offset(%rip)\nje 1f\n.irp i, 0, 1, 2, 3, 4, 5, 6, 7\nkmovq %k\\i, opmasks_after+8*\\i(%rip)\n.endr\n1:\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nvzeroupper\nret\n.size fault_loop, .-fault_loop\n.popsection");
extern char fault_loop_at[];
float fault_loop(float acc, float a, float b, float *p);
float *loop_end;
uint64_t opmasks_after[8];
unsigned opmask_offset;  // in the XSAVE area; 0: no opmasks of 64 bits
PROBE_PAGES(fresh, 8, 10);

static struct {
  float *page;        // where the fault shall be
  char *instruction;  // by which instruction
  long fmas;          // probes executed when it happens
  int runs;
  sigjmp_buf out;
} expected;

static void check_registers(const ucontext_t *context) {
  const greg_t *r = context->uc_mcontext.gregs;
  static const int kept[] = {REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RBP, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++) CHECK((uint64_t)r[kept[i]] == canary);
  CHECK(r[REG_RDI] == (greg_t)expected.page);
  CHECK(r[REG_RIP] == (greg_t)expected.instruction);
  const uint8_t *xsave = (const uint8_t *)context->uc_mcontext.fpregs;
  float xmm[3];  // acc, a, b
  for (int i = 0; i < 3; i++) memcpy(&xmm[i], xsave + 160 + 16 * i, 4);
  tally_probes(expected.fmas, xmm[0]);  // what the handler sees is a partial sum; main adds the rest
  CHECK(xmm[1] == PROBE_A && xmm[2] == 1);
  for (int i = 3; i < 16; i++) {
    CHECK(!memcmp(xsave + 160 + 16 * i, canary_vector, 16));
    CHECK(!memcmp(xsave + 576 + 16 * i, canary_vector + 4, 16));  // upper halves of ymm: standard XSAVE format, component 2
  }
}

static void check_opmasks(const void *opmasks) {
  for (int i = 0; i < 8; i++) CHECK(!memcmp((const uint64_t *)opmasks + i, &canary, 8));
}

static char handler_stack[1 << 16];
static int on_own_stack;

static void on_fault(int signal, siginfo_t *info, void *context) {
  char here;
  CHECK(signal == SIGSEGV || signal == SIGBUS);
  CHECK(info->si_addr == expected.page);
  CHECK(signal != SIGSEGV || info->si_code == SEGV_ACCERR);
  CHECK(on_own_stack || (&here > handler_stack && &here < handler_stack + sizeof handler_stack));
  check_registers(context);
  expected.runs++;
}

static void repair(int signal, siginfo_t *info, void *context) {
  on_fault(signal, info, context);
  CHECK(!mprotect(expected.page, 4096, PROT_READ | PROT_WRITE));
}

static void repair_opmasks(int signal, siginfo_t *info, void *context) {
  if (opmask_offset) check_opmasks((const uint8_t *)((ucontext_t *)context)->uc_mcontext.fpregs + opmask_offset);
  repair(signal, info, context);
}

static int memory_file;
static void repair_bus(int signal, siginfo_t *info, void *context) {
  on_fault(signal, info, context);
  float ones[4] = {1, 1, 1, 1};
  CHECK(pwrite(memory_file, ones, sizeof ones, 0) == sizeof ones);
}

static void leave(int signal, siginfo_t *info, void *context) {
  on_fault(signal, info, context);
  siglongjmp(expected.out, 1);
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
  stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
  CHECK(!sigaltstack(&stack, NULL));
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | flags};
  CHECK(!sigaction(signal, &action, NULL));
}

static float *closed_page(void) {
  float *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 16; i++) page[i] = 1;
  CHECK(!mprotect(page, 4096, PROT_NONE));
  return page;
}

// Runs the code twice: the first pass faults, the second (now translated and healthy) does not. The handler has tallied `before` probes of the first pass.
static void faulting(float (*code)(float, float, float, float *), char *at, long before, long all) {
  volatile float a = PROBE_A, b = 1;
  expected.instruction = at;
  expected.fmas = before;
  for (int pass = 0; pass < 2; pass++) {
    float acc = code(0, a, b, expected.page);
    tally_probes(all, acc);
  }
  CHECK(expected.runs == 1);
  // Undo the partial sum: it was tallied to check its value, but these probes are part of the first pass.
  tally->fmas -= before;
}

static float into_page(float acc, float a, float b, float *page) { return fault_loop(acc, a, b, page - 16); }

static void repair_loop(void) {
  unsigned size, unused;
  if (__builtin_cpu_supports("avx512bw")) __cpuid_count(0xd, 5, size, opmask_offset, unused, unused);
  float *pages = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 2 * 1024; i++) pages[i] = 1;
  expected.page = pages + 1024;
  CHECK(!mprotect(expected.page, 4096, PROT_NONE));
  handle(SIGSEGV, repair_opmasks, 0);
  faulting(into_page, fault_loop_at, 9, 10);
  if (opmask_offset) check_opmasks(opmasks_after);
}

static void longjmp_out(void) {
  volatile float a = PROBE_A, b = 1;
  handle(SIGSEGV, leave, 0);
  expected.instruction = fault_fma_at;
  expected.fmas = 5;
  float good[4] = {1, 1, 1, 1};
  for (volatile int i = 0; i < 100; i++) {
    if (!sigsetjmp(expected.out, 1)) {
      fault_fma(0, a, b, expected.page);
      CHECK(!"reached");
    }
    tally_probes(10, fault_fma(0, a, b, good));
  }
  CHECK(expected.runs == 100);
}

// A loop whose state lives in registers only. Its values do not matter, only that an interrupted run ends with the same.
asm(".pushsection .text.faulting, \"ax\"\n.balign 64\n.type compute, @function\ncompute:\nvmovups (%rsi), %ymm0\nvmovups 32(%rsi), %ymm1\nvmovups 64(%rsi), %ymm2\n"
    "vmovups %ymm0, %ymm3\nvmovups %ymm1, %ymm4\n1:\nvfmadd213ps %ymm2, %ymm1, %ymm3\nvfnmadd231ps %ymm1, %ymm3, %ymm4\nvfmadd132ps %ymm1, %ymm0, %ymm4\n"
    "vfmsub213ps %ymm0, %ymm1, %ymm3\ndec %rdi\njnz 1b\nvaddps %ymm3, %ymm4, %ymm4\nvmovups %ymm4, (%rdx)\nvzeroupper\nret\n"
    ".globl compute_end\ncompute_end:\n.size compute, .-compute\n.popsection");
void compute(long n, const float *in, float *out);
extern char compute_end[];

static atomic_long ticks, elsewhere;
static void on_tick(int signal) {
  (void)signal;
  probe(in_handler, 12);
  ticks++;
}

static void on_tick_look(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  char *rip = (char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
  ticks++;
  elsewhere += rip < (char *)compute || rip >= compute_end;
}

// Rounding up, with DAZ going on and off, which changes no value of the loop. Flags are left alone.
static atomic_uint control = 0x5f80;
static void on_tick_control(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  unsigned *mxcsr = &((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
  CHECK((*mxcsr & ~0x3fu) == control);
  *mxcsr ^= 0x40;
  control ^= 0x40;
  ticks++;
}

static void timer(long n, void (*look)(int, siginfo_t *, void *)) {
  float in[24], calm[8], disturbed[8];
  for (int i = 0; i < 24; i++) in[i] = (float)((i * 37 + 11) % 64) / 97;
  compute(n, in, calm);
  struct sigaction action = {.sa_flags = SA_RESTART | (look ? SA_SIGINFO : 0)};
  if (look)
    action.sa_sigaction = look;
  else
    action.sa_handler = on_tick;
  sigaction(SIGALRM, &action, NULL);
  struct itimerval every = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &every, NULL);
  int rounds = 0;
  for (; rounds < 3 || (ticks < 50 && rounds < 1000); rounds++) {
    compute(n, in, disturbed);
    CHECK(!memcmp(calm, disturbed, sizeof calm));
  }
  setitimer(ITIMER_REAL, &never, NULL);
  tally_fmas(4 * n * (rounds + 1));
  CHECK(ticks >= 50);
  // Between two calls the loop of this function runs, outside compute: one tick in a hundred may hit it.
  if (look == on_tick_look) CHECK(elsewhere <= ticks / 20 + 1);
}

// x - x until `enough`.
asm(".pushsection .text.faulting, \"ax\"\n.balign 64\n.type cancel, @function\ncancel:\nvpxord %zmm0, %zmm0, %zmm0\nvbroadcastss (%rdi), %zmm1\nxor %eax, %eax\n"
    "1:\nvfmadd231ps %zmm1, %zmm1, %zmm0\nvfnmadd231ps %zmm1, %zmm1, %zmm0\ninc %rax\ncmpl $0, enough(%rip)\nje 1b\nvmovss %xmm0, (%rsi)\nvzeroupper\nret\n"
    ".size cancel, .-cancel\n.popsection");
long cancel(const float *x, float *sum);
int enough;

static void on_tick_round_down(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  unsigned *mxcsr = &((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
  *mxcsr = (*mxcsr & ~0x6000u) | 0x2000;
  enough = ticks++ > 0;
}

static void rounding(void) {
  struct sigaction action = {.sa_flags = SA_RESTART | SA_SIGINFO, .sa_sigaction = on_tick_round_down};
  sigaction(SIGALRM, &action, NULL);
  struct itimerval every = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &every, NULL);
  float x = 3, sum = 1;
  long passes = cancel(&x, &sum);
  setitimer(ITIMER_REAL, &never, NULL);
  __builtin_ia32_ldmxcsr(0x1f80);
  tally_fmas(2 * passes);
  CHECK(sum == 0 && __builtin_signbitf(sum));
}

// Handlers that interrupt each other at any point, also where they have just begun.
static struct {
  float in[24], calm[8];
} handlers_loop;
enum { kShort = 20 };

static void on_either(int signal) {
  float out[8];
  sigset_t now;
  CHECK(!sigprocmask(SIG_SETMASK, NULL, &now));
  CHECK(sigismember(&now, signal) && sigismember(&now, SIGUSR2) && !sigismember(&now, SIGUSR1) && !sigismember(&now, SIGHUP));
  compute(kShort, handlers_loop.in, out);
  CHECK(!memcmp(handlers_loop.calm, out, sizeof out));
  tally_fmas(4 * kShort);
  ticks++;
}

static void timers(long n) {
  float calm[8], disturbed[8];
  for (int i = 0; i < 24; i++) handlers_loop.in[i] = (float)((i * 29 + 5) % 64) / 97;
  compute(n, handlers_loop.in, calm);
  compute(kShort, handlers_loop.in, handlers_loop.calm);
  struct sigaction action = {.sa_handler = on_either, .sa_flags = SA_RESTART};
  sigaddset(&action.sa_mask, SIGUSR2);
  sigaction(SIGALRM, &action, NULL);
  sigaction(SIGPROF, &action, NULL);
  struct itimerval often = {{0, 300}, {0, 300}}, every = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &often, NULL);
  setitimer(ITIMER_PROF, &every, NULL);
  int rounds = 0;
  for (; ticks < 3000 && rounds < 10000000; rounds++) {
    compute(n, handlers_loop.in, disturbed);
    CHECK(!memcmp(calm, disturbed, sizeof calm));
  }
  setitimer(ITIMER_REAL, &never, NULL);
  setitimer(ITIMER_PROF, &never, NULL);
  tally_fmas(4 * n * (rounds + 1) + 4 * kShort);
  CHECK(ticks >= 3000);
}

static void touch(int signal) { probe(PAGED(fresh, signal == SIGUSR1 ? 1 : 2), 10); }
static void touch_and_repair(int signal, siginfo_t *info, void *context) {
  probe(PAGED(fresh, 3), 10);
  repair(signal, info, context);
}
static void touch_all_and_repair(int signal, siginfo_t *info, void *context) {
  for (int i = 0; i < 8; i++) probe(PAGED(fresh, i), 10);
  repair(signal, info, context);
}
static void *touch_in_thread(void *page) {
  probe(PAGED(fresh, (long)page), 10);
  return NULL;
}

static void masks(void) {
  sigset_t all, before, now;
  sigfillset(&all);
  CHECK(!sigprocmask(SIG_SETMASK, &all, &before));
  probe(PAGED(fresh, 0), 10);
  CHECK(!sigprocmask(SIG_SETMASK, NULL, &now));
  CHECK(sigismember(&now, SIGSEGV) == 1 && sigismember(&now, SIGUSR1) == 1);
  pthread_t thread;
  pthread_create(&thread, NULL, touch_in_thread, (void *)4);
  pthread_join(thread, NULL);
  CHECK(!pthread_sigmask(SIG_SETMASK, &before, &now));
  CHECK(sigismember(&now, SIGSEGV) == 1);

  struct sigaction action = {.sa_handler = touch};
  sigfillset(&action.sa_mask);
  CHECK(!sigaction(SIGUSR1, &action, NULL));
  raise(SIGUSR1);
  CHECK(signal(SIGUSR2, touch) == SIG_DFL);
  raise(SIGUSR2);

  handle(SIGSEGV, touch_and_repair, 0);
  faulting(fault_fma, fault_fma_at, 5, 10);
}

static atomic_int received;
static void count_signal(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  CHECK(info->si_code == SI_TKILL || info->si_code == SI_USER);
  CHECK(info->si_pid == getpid());
  received++;
}

static void query(void) {
  struct sigaction action = {.sa_sigaction = count_signal, .sa_flags = SA_SIGINFO | SA_RESTART}, old;
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, SIGUSR2);
  CHECK(!sigaction(SIGSEGV, NULL, &old) && old.sa_handler == SIG_DFL && !(old.sa_flags & (SA_SIGINFO | SA_ONSTACK)));
  CHECK(!sigaction(SIGSEGV, &action, &old) && old.sa_handler == SIG_DFL);
  probe(PAGED(fresh, 0), 10);
  CHECK(!sigaction(SIGSEGV, NULL, &old));
  CHECK(old.sa_sigaction == count_signal && (old.sa_flags & (SA_SIGINFO | SA_RESTART | SA_ONSTACK | SA_NODEFER)) == (SA_SIGINFO | SA_RESTART));
  CHECK(sigismember(&old.sa_mask, SIGUSR2) == 1 && sigismember(&old.sa_mask, SIGUSR1) == 0);
  raise(SIGSEGV);
  kill(getpid(), SIGSEGV);
  CHECK(received == 2);
  // A blocked SIGSEGV that somebody sent stays pending, also while the engine needs SIGSEGV for itself.
  sigset_t segv, pending, before;
  sigemptyset(&segv);
  sigaddset(&segv, SIGSEGV);
  CHECK(!sigprocmask(SIG_BLOCK, &segv, &before) && !sigismember(&before, SIGSEGV));
  raise(SIGSEGV);
  CHECK(!sigpending(&pending) && sigismember(&pending, SIGSEGV) && received == 2);
  probe(PAGED(fresh, 1), 10);
  CHECK(received == 2);
  CHECK(!sigprocmask(SIG_UNBLOCK, &segv, NULL));
  CHECK(received == 3);

  CHECK(signal(SIGSEGV, SIG_IGN) == (void (*)(int))(uintptr_t)count_signal);
  raise(SIGSEGV);
  probe(PAGED(fresh, 2), 10);
  CHECK(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
  CHECK(sigaction(SIGKILL, &action, NULL) == -1);

  stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack}, none;
  CHECK(!sigaltstack(NULL, &none) && none.ss_flags == SS_DISABLE);
  CHECK(!sigaltstack(&stack, NULL));
  probe(PAGED(fresh, 3), 10);
  CHECK(!sigaltstack(NULL, &none) && none.ss_sp == handler_stack && none.ss_size == sizeof handler_stack && none.ss_flags == 0);
}

// float on_stack(acc, a, b, code, top): calls code with the stack pointer at `top`.
asm(".pushsection .text.faulting, \"ax\"\n.type on_stack, @function\non_stack:\npush %rbp\nmov %rsp, %rbp\nmov %rsi, %rsp\ncall *%rdi\nmov %rbp, %rsp\npop %rbp\nret\n"
    ".size on_stack, .-on_stack\n.popsection");
float on_stack(float acc, float a, float b, probe_fn *code, char *top);

// Go, JVMs and coroutine libraries run code on stacks like this; a signal frame with AVX-512 state takes 3 KB.
static void tiny_stack(void) {
  volatile float a = PROBE_A, b = 1;
  char *stack = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(!mprotect(stack + 4096, 4096, PROT_READ | PROT_WRITE));
  for (int i = 0; i < 8; i++) tally_probes(10, on_stack(0, a, b, PAGED(fresh, i), stack + 4096 + 256));
}

static void data_stack(void) {
  volatile float a = PROBE_A, b = 1;
  enum { kBelow = 1 << 18 };
  char *memory = malloc(kBelow + 4096);
  memset(memory, 0x5a, kBelow + 4096);
  for (int i = 0; i < 8; i++) tally_probes(10, on_stack(0, a, b, PAGED(fresh, i), memory + kBelow));
  long changed = 0;
  for (long i = 0; i < kBelow - 8; i++) changed += memory[i] != 0x5a;  // 8: the call's return address
  CHECK(changed == 0);
}

// The system's recommended size, from the heap, as Python's faulthandler has it. Whoever borrows that stack must not need more.
static void alt_stack(void) {
  const long size = sysconf(_SC_SIGSTKSZ), below = 1 << 18;
  char *memory = malloc(below + size);
  memset(memory, 0x5a, below + size);
  stack_t stack = {.ss_sp = memory + below, .ss_size = size};
  CHECK(!sigaltstack(&stack, NULL));
  for (int i = 0; i < 8; i++) probe(PAGED(fresh, i), 10);
  long overrun = 0;
  for (long i = 0; i < below; i++)
    if (memory[i] != 0x5a && !overrun) overrun = below - i;
  if (overrun) printf("overrun of %ld bytes below a stack of %ld\n", overrun, size);
  CHECK(!overrun);
}

static float *second_page;
static void repair_nested(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  volatile float a = PROBE_A, b = 1;
  CHECK(!mprotect((void *)((uintptr_t)info->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE));
  if (expected.runs++ == 0) tally_probes(9, fault_load(0, a, b, second_page));
}

static void nodefer(void) {
  volatile float a = PROBE_A, b = 1;
  second_page = closed_page();
  handle(SIGSEGV, repair_nested, SA_NODEFER);
  tally_probes(10, fault_fma(0, a, b, expected.page));
  CHECK(expected.runs == 2);
  // SA_RESETHAND: the first fault is handled, the second kills a child.
  pid_t child = fork();
  if (!child) {
    handle(SIGSEGV, repair, SA_RESETHAND);
    expected.runs = 0, expected.fmas = 5, expected.instruction = fault_fma_at, expected.page = closed_page();
    tally_probes(10, fault_fma(0, a, b, expected.page));
    tally->fmas -= 5;
    *(volatile float *)closed_page();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  const char *scenario = argv[1];
  tally_new();
  setbuf(stdout, NULL);
  expected.page = closed_page();
  if (!strcmp(scenario, "repair")) handle(SIGSEGV, repair, 0), faulting(fault_fma, fault_fma_at, 5, 10);
  if (!strcmp(scenario, "repair_load")) handle(SIGSEGV, repair, 0), faulting(fault_load, fault_load_at, 5, 9);
  if (!strcmp(scenario, "repair_store")) handle(SIGSEGV, repair, 0), faulting(fault_store, fault_store_at, 5, 9);
  if (!strcmp(scenario, "repair_loop")) repair_loop();
  if (!strcmp(scenario, "repair_touch")) {
    struct sigaction action = {.sa_sigaction = touch_all_and_repair, .sa_flags = SA_SIGINFO};  // on the program's stack
    CHECK(!sigaction(SIGSEGV, &action, NULL));
    on_own_stack = 1;
    faulting(fault_fma, fault_fma_at, 5, 10);
  }
  if (!strcmp(scenario, "bus")) {
    memory_file = memfd_create("bus", 0);
    expected.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory_file, 0);
    handle(SIGBUS, repair_bus, 0);
    faulting(fault_fma, fault_fma_at, 5, 10);
  }
  if (!strcmp(scenario, "longjmp")) longjmp_out();
  if (!strcmp(scenario, "timer")) timer(atol(argv[2]), NULL);
  if (!strcmp(scenario, "rounding")) rounding();
  if (!strcmp(scenario, "timers")) timers(atol(argv[2]));
  if (!strcmp(scenario, "timer_rip")) timer(atol(argv[2]), on_tick_look);
  if (!strcmp(scenario, "timer_mxcsr")) {
    __builtin_ia32_ldmxcsr(control);
    timer(atol(argv[2]), on_tick_control);
    CHECK((__builtin_ia32_stmxcsr() & ~0x3fu) == control);
  }
  if (!strcmp(scenario, "masks")) masks();
  if (!strcmp(scenario, "query")) query();
  if (!strcmp(scenario, "tiny_stack")) tiny_stack();
  if (!strcmp(scenario, "data_stack")) data_stack();
  if (!strcmp(scenario, "alt_stack")) alt_stack();
  if (!strcmp(scenario, "nodefer")) nodefer();
  if (!strcmp(scenario, "default") || !strcmp(scenario, "abort")) {
    probe(PAGED(fresh, 0), 10);
    report();
    if (!strcmp(scenario, "abort")) abort();
    *(volatile float *)expected.page;
  }
  return report();
}
