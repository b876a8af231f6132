// FMAs in a known order, one after the other, for roundings that draw random bits. One scenario a run; every line printed is one register's lanes, as bits.
//   sum N         acc = 0.1 * 1 + acc, N scalar FMAs
//   chain N       x = a * x + b, N packed FMAs
//   threads T N   the same in T threads at once, which are numbered from 1 in the order of their creation
//   fork N        N, then a child goes on with N, and the parent, when it has ended, with N
//   fault         three FMAs; the second one's memory operand is on a closed page, which the handler opens
// fma-sites: 1 + 1 + 3
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "probe.h"

#define FUNCTION(name, body) asm(".pushsection .text.chains, \"ax\"\n.balign 64\n.type " #name ", @function\n" #name ":\n" body "ret\n.size " #name ", .-" #name "\n.popsection")

FUNCTION(chain,  // rdi: passes, rsi: 8 floats, xmm0: a, xmm1: b
         "vbroadcastss %xmm0, %ymm0\nvbroadcastss %xmm1, %ymm1\nvmovups (%rsi), %ymm2\n1:\nvfmadd213ps %ymm1, %ymm0, %ymm2\ndec %rdi\njnz 1b\n"
         "vmovups %ymm2, (%rsi)\nvzeroupper\n");
void chain(long n, float *x, float a, float b);

FUNCTION(sum, "1:\nvfmadd231ss %xmm2, %xmm1, %xmm0\ndec %rdi\njnz 1b\n");
float sum(long n, float acc, float a, float b);

FUNCTION(fault, "vfmadd231ps %xmm1, %xmm0, %xmm2\nvfmadd132ps (%rdi), %xmm1, %xmm2\nvfmadd213ps %xmm1, %xmm0, %xmm2\nvmovaps %xmm2, %xmm0\n");
float fault(float *closed, float a, float b, float acc);

static long passes;
static float lanes[64][8];
static pthread_barrier_t barrier;

static void start(float *x) {
  for (int i = 0; i < 8; i++) x[i] = (float)(i + 1) / 7;
}

static void run(float *x) {
  chain(passes, x, 0.9f, 0.07f);
  tally_fmas(passes);
}

static void print(const char *name, const float *x, int n) {
  printf("%s", name);
  for (int i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], 4);
    printf(" %08x", bits);
  }
  printf("\n");
  fflush(stdout);
}

static void *run_thread(void *x) {
  pthread_barrier_wait(&barrier);
  run(x);
  return NULL;
}

static void threads(int n) {
  pthread_t ids[64];
  pthread_barrier_init(&barrier, NULL, n);
  for (int i = 0; i < n; i++) {
    start(lanes[i]);
    CHECK(pthread_create(&ids[i], NULL, run_thread, lanes[i]) == 0);
  }
  for (int i = 0; i < n; i++) {
    pthread_join(ids[i], NULL);
    print("thread", lanes[i], 8);
  }
}

static void forked(void) {
  float *x = lanes[0];
  start(x);
  run(x);
  print("before", x, 8);
  pid_t child = fork();
  if (!child) {
    run(x);
    print("child", x, 8);
    _exit(0);
  }
  CHECK(waitpid(child, NULL, 0) == child);
  run(x);
  print("parent", x, 8);
}

static void open_page(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  CHECK(!mprotect(info->si_addr, 4096, PROT_READ));
}

static void faulting(void) {
  float *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 4; i++) page[i] = 0.3f;
  CHECK(!mprotect(page, 4096, PROT_NONE));
  struct sigaction action = {.sa_sigaction = open_page, .sa_flags = SA_SIGINFO};
  CHECK(!sigaction(SIGSEGV, &action, NULL));
  float result = fault(page, 0.9f, 0.07f, 0.2f);
  tally_fmas(3);
  print("fault", &result, 1);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  tally_new();
  passes = argc > 2 ? atol(argv[argc - 1]) : 0;
  if (!strcmp(argv[1], "sum")) {
    volatile float a = 0.1f;
    float result = sum(passes, 0, a, 1);
    tally_fmas(passes);
    print("sum", &result, 1);
  }
  if (!strcmp(argv[1], "chain")) {
    start(lanes[0]);
    run(lanes[0]);
    print("chain", lanes[0], 8);
  }
  if (!strcmp(argv[1], "threads")) threads(atoi(argv[2]));
  if (!strcmp(argv[1], "fork")) forked();
  if (!strcmp(argv[1], "fault")) faulting();
  return report();
}
