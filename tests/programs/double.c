// Double-precision FMAs whose results and number are known: a chain in each lane of a vector and one in a scalar, with single-precision ones beside them in the
// same loop.
//   double N      Prints the operands and the results as encodings.
#pragma GCC target("avx2,fma")
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"

static double number(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(int64_t)*state * 0x1p-62;
}

static void show(const char *name, const void *values, int count) {
  printf("%s", name);
  for (int i = 0; i < count; ++i) {
    uint64_t bits;
    memcpy(&bits, (const char *)values + 8 * i, 8);
    printf(" %016lx", bits);
  }
  printf("\n");
}

int main(int argc, char **argv) {
  tally_new();
  const int n = argc > 1 ? atoi(argv[1]) : 100;
  double *a = aligned_alloc(64, (size_t)n * 32);
  double *b = aligned_alloc(64, (size_t)n * 32);
  uint64_t state = 1;
  for (int i = 0; i < 4 * n; ++i) a[i] = number(&state), b[i] = number(&state);

  __m256d packed = _mm256_setzero_pd();
  __m128d scalar = _mm_setzero_pd();
  __m256 single = _mm256_setzero_ps();
  const __m256 one = _mm256_set1_ps(1.001953125f);
  for (int i = 0; i < n; ++i) {
    const __m256d x = _mm256_load_pd(a + 4 * i), y = _mm256_load_pd(b + 4 * i);
    packed = _mm256_fmadd_pd(x, y, packed);
    scalar = _mm_fnmadd_sd(_mm256_castpd256_pd128(x), _mm256_castpd256_pd128(y), scalar);
    single = _mm256_fmadd_ps(one, one, single);
    __asm__ volatile("" : "+x"(packed), "+x"(scalar), "+x"(single));
  }
  double lanes[4];
  float singles[8];
  _mm256_storeu_pd(lanes, packed);
  _mm256_storeu_ps(singles, single);
  show("a", a, 4 * n);
  show("b", b, 4 * n);
  show("packed", lanes, 4);
  _mm_storeu_pd(lanes, scalar);
  show("scalar", lanes, 1);
  printf("single %a\n", singles[5]);
  tally_fmas(n);
  tally_fp64(2 * n);
  return report();
}
