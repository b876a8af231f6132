// Solves a diagonally dominant system by Jacobi's iteration, all products by FMA, and prints `residual R` after each of STEPS sweeps, DELAY ms apart.
// The residual itself is computed in double precision, without FMAs. Ends with a line `fmas N`.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { N = 192 };
static float a[N][N], b[N], x[N], next[N];

__attribute__((target("fma"), noinline)) static void sweep(void) {
  for (int i = 0; i < N; i++) {
    float sum = b[i];
    for (int j = 0; j < N; j++) sum = __builtin_fmaf(-a[i][j], x[j], sum);
    next[i] = sum;  // the diagonal is 1 and its place in `a` is 0
  }
  for (int i = 0; i < N; i++) x[i] = next[i];
}

static double residual(void) {
  double worst = 0;
  for (int i = 0; i < N; i++) {
    double sum = (double)b[i] - x[i];
    for (int j = 0; j < N; j++) sum -= (double)a[i][j] * x[j];
    if (fabs(sum) > worst) worst = fabs(sum);
  }
  return worst;
}

int main(int argc, char **argv) {
  int steps = argc > 1 ? atoi(argv[1]) : 40, delay = argc > 2 ? atoi(argv[2]) : 50;
  unsigned state = 1;
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      state = state * 1664525 + 1013904223;
      a[i][j] = i == j ? 0 : (float)(state >> 8) / (1 << 24) * 1.2f / N;
    }
    b[i] = 1;
  }
  for (int step = 0; step < steps; step++) {
    sweep();
    printf("residual %g\n", residual());
    fflush(stdout);
    usleep(delay * 1000);
  }
  printf("fmas %d\n", steps * N * N);
  return 0;
}
