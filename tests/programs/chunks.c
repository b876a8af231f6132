// One accumulator in a loop: chunks.c SCENARIO N.   acc[0..7] += a * b_i, b_i = 0.3 + i / 64
//   sum    prints the sum
//   timer  the same again and again, under a timer whose handler adds up in a loop of its own; every sum must be the first
//   fault  b ends in a page without access: the handler prints the sum that the program would see there (its lower four lanes), and ends the program
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

// rdi: b; rsi: number of terms; rdx: a and, behind it, the sum.
asm(".pushsection .text.add_up, \"ax\"\n.balign 64\n.type add_up, @function\nadd_up:\nvmovups (%rdx), %ymm1\nvmovups 32(%rdx), %ymm0\n"
    "1:\nvbroadcastss (%rdi), %ymm2\nvfmadd231ps %ymm2, %ymm1, %ymm0\nadd $4, %rdi\ndec %rsi\njnz 1b\n"
    "vmovups %ymm0, 32(%rdx)\nvzeroupper\nret\n.size add_up, .-add_up\n.popsection");
void add_up(const float* b, long n, float* a_and_sum);

static float* terms;
static long count;
static volatile sig_atomic_t ticks;

static void print(const uint32_t* lanes, int n) {
  char text[128] = "sum";
  for (int i = 0; i < n; i++) sprintf(text + strlen(text), " %08x", lanes[i]);
  strcat(text, "\n");
  if (write(1, text, strlen(text)) < 0) _exit(3);
}

static void sum(float* out) {
  float data[16] = {0};
  for (int i = 0; i < 8; i++) data[i] = 1 + i / 16.0f;
  add_up(terms, count, data);
  memcpy(out, data + 8, 32);
}

static void on_tick(int sig) {
  (void)sig;
  float data[16] = {1, 1, 1, 1, 1, 1, 1, 1, 7};
  add_up(terms, 100, data);
  ticks++;
}

static void on_fault(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info;
  print((const uint32_t*)((ucontext_t*)context)->uc_mcontext.fpregs->_xmm[0].element, 4);
  _exit(0);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  count = atol(argv[2]);
  long page = sysconf(_SC_PAGESIZE), bytes = (count * 4 + page - 1) / page * page;
  uint8_t* area = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED || mprotect(area + bytes, page, PROT_NONE)) return 3;
  terms = (float*)(area + bytes) - count;
  for (long i = 0; i < count; i++) terms[i] = 0.3f + i / 64.0f;
  float first[8], again[8];
  if (!strcmp(argv[1], "fault")) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    count++;
    sum(first);
    return 4;
  }
  sum(first);
  print((uint32_t*)first, 8);
  if (strcmp(argv[1], "timer")) return 0;
  signal(SIGALRM, on_tick);
  struct itimerval timer = {{0, 50}, {0, 50}};
  setitimer(ITIMER_REAL, &timer, NULL);
  for (int i = 0; i < 20 || ticks < 100; i++) {
    sum(again);
    if (memcmp(first, again, sizeof first)) return 1;
  }
  return 0;
}
