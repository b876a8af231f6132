// Nanoseconds an FMA takes in a loop that does nothing else: twelve accumulators, all operands in registers, on the grid of any format.
// One line a width: lanes, nanoseconds. Under `fase run` it tells what emulation cannot fall below.
#include <stdio.h>
#include <time.h>

enum { kAccumulators = 12, kPasses = 100000, kRepetitions = 60 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

#define FMA(op, r, n) #op " %%" #r "14, %%" #r "13, %%" #r #n "\n"
#define TWELVE(op, r)                                                                                                                    \
  FMA(op, r, 0) FMA(op, r, 1) FMA(op, r, 2) FMA(op, r, 3) FMA(op, r, 4) FMA(op, r, 5) FMA(op, r, 6) FMA(op, r, 7) FMA(op, r, 8) FMA(op, r, 9) \
      FMA(op, r, 10) FMA(op, r, 11)
#define CLEAR "vzeroall\n"
#define MEASURE(lanes, op, r)                                                                                                          \
  do {                                                                                                                                 \
    double best = 1e30;                                                                                                                \
    for (int i = 0; i < kRepetitions; ++i) {                                                                                           \
      long passes = kPasses;                                                                                                           \
      double start = now();                                                                                                            \
      __asm__ volatile(CLEAR "1:\n" TWELVE(op, r) "sub $1, %0\njnz 1b\n" : "+r"(passes)::"cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", \
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm13", "xmm14");                                             \
      double taken = now() - start;                                                                                                    \
      if (taken < best) best = taken;                                                                                                  \
    }                                                                                                                                  \
    printf("%d %.6f\n", lanes, best / kPasses / kAccumulators);                                                                        \
  } while (0)

int main(void) {
  MEASURE(1, vfmadd231ss, xmm);
  MEASURE(4, vfmadd231ps, xmm);
  MEASURE(8, vfmadd231ps, ymm);
  if (__builtin_cpu_supports("avx512f")) MEASURE(16, vfmadd231ps, zmm);
  return 0;
}
