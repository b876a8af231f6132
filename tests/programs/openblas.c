// A plain C program on OpenBLAS: C = A * B in single precision, one thread.
//   openblas LIBRARY SIZE plain|rounded|tiny      LIBRARY: one with 64-bit integers, as NumPy ships; rounded: A and B are rounded to BF16 first;
//                                                 tiny: A is multiplied by 2^-70
// The kernel is chosen by OPENBLAS_CORETYPE. Prints the kernel's name and every element of C as bits.
// fma-sites: 0
#include <dlfcn.h>

#include "probe.h"

typedef void sgemm_fn(int order, int transa, int transb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                      float beta, float *c, int64_t ldc);

static float to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  memcpy(&x, &bits, 4);
  return x;
}

static float *matrix(int n, uint32_t draw, int rounded, float scale) {
  float *m = malloc(sizeof *m * n * n);
  for (int i = 0; i < n * n; i++) {
    draw = draw * 1664525 + 1013904223;
    m[i] = scale * (int32_t)draw * 0x1p-31f;
    if (rounded) m[i] = to_bf16(m[i]);
  }
  return m;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 2;
  int n = atoi(argv[2]), rounded = !strcmp(argv[3], "rounded");
  ((void (*)(int))(uintptr_t)dlsym(library, "scipy_openblas_set_num_threads64_"))(1);
  sgemm_fn *sgemm = (sgemm_fn *)(uintptr_t)dlsym(library, "scipy_cblas_sgemm64_");
  float *a = matrix(n, 1, rounded, strcmp(argv[3], "tiny") ? 1 : 0x1p-70f), *b = matrix(n, 2, rounded, 1), *c = calloc(n * n, sizeof *c);
  enum { kRowMajor = 101, kNoTrans = 111 };
  sgemm(kRowMajor, kNoTrans, kNoTrans, n, n, n, 1, a, n, b, n, 0, c, n);
  printf("kernel %s\n", ((char *(*)(void))(uintptr_t)dlsym(library, "scipy_openblas_get_corename64_"))());
  for (int i = 0; i < n * n; i++) {
    uint32_t bits;
    memcpy(&bits, &c[i], 4);
    printf("%08x%c", bits, i % n == n - 1 ? '\n' : ' ');
  }
  return 0;
}
