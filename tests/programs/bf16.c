// The CPU's own BF16 instructions, on inputs that a test chooses.
//   bf16 INPUT OUTPUT T    INPUT: steps of 32 + 32 BF16 values and 16 floats (a, b, c). T threads walk it; OUTPUT: for each step the 16 floats of
//                          each of the five sums below, and the 16 + 32 BF16 values of the two conversions
// A step executes five VDPBF16PS, each on a sum of its own that starts with the first step's c: 512 bits; 256; 128; masked; one pair of b for all
// lanes. And VCVTNEPS2BF16 of the first sum, VCVTNE2PS2BF16 of c and the first sum: T * steps * 5 and T * steps * 2.
#include <immintrin.h>
#include <pthread.h>

#include "probe.h"

#define TARGET __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")))
#define MASK 0x5a3c

struct step {
  uint16_t a[32], b[32];
  float c[16];
};
struct result {
  float sum[5][16];
  uint16_t one[16], two[32];
};

static struct step* steps;
static long count;

TARGET static __m512bh pairs(const uint16_t* p) { return (__m512bh)_mm512_loadu_si512(p); }

TARGET static void walk(struct result* out) {
  __m512 wide = _mm512_loadu_ps(steps[0].c), masked = wide, one_pair = wide;
  __m256 half = _mm512_castps512_ps256(wide);
  __m128 quarter = _mm512_castps512_ps128(wide);
  for (long i = 0; i < count; i++) {
    __m512bh a = pairs(steps[i].a), b = pairs(steps[i].b);
    int pair;
    memcpy(&pair, steps[i].b, sizeof pair);
    wide = _mm512_dpbf16_ps(wide, a, b);
    half = _mm256_dpbf16_ps(half, (__m256bh)_mm256_loadu_si256((void*)steps[i].a), (__m256bh)_mm256_loadu_si256((void*)steps[i].b));
    quarter = _mm_dpbf16_ps(quarter, (__m128bh)_mm_loadu_si128((void*)steps[i].a), (__m128bh)_mm_loadu_si128((void*)steps[i].b));
    asm("vdpbf16ps %2, %1, %0%{%3%}" : "+v"(masked) : "v"(a), "v"(b), "Yk"((__mmask16)MASK));  // GCC 12's intrinsic has a mask of 8 bits
    one_pair = _mm512_dpbf16_ps(one_pair, a, (__m512bh)_mm512_set1_epi32(pair));
    memset(out[i].sum, 0, sizeof out[i].sum);
    _mm512_storeu_ps(out[i].sum[0], wide);
    _mm256_storeu_ps(out[i].sum[1], half);
    _mm_storeu_ps(out[i].sum[2], quarter);
    _mm512_storeu_ps(out[i].sum[3], masked);
    _mm512_storeu_ps(out[i].sum[4], one_pair);
    _mm256_storeu_si256((void*)out[i].one, (__m256i)_mm512_cvtneps_pbh(wide));
    _mm512_storeu_si512(out[i].two, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(steps[i].c), wide));
  }
}

static void* run(void* out) {
  walk(out);
  return NULL;
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  if (!__builtin_cpu_supports("avx512bf16")) return 3;
  tally_new();
  FILE* file = fopen(argv[1], "rb");
  fseek(file, 0, SEEK_END);
  count = ftell(file) / sizeof(struct step);
  rewind(file);
  steps = malloc(count * sizeof *steps);
  CHECK(fread(steps, sizeof *steps, count, file) == (size_t)count);
  int threads = atoi(argv[3]);
  struct result** out = calloc(threads, sizeof *out);
  pthread_t* ids = calloc(threads, sizeof *ids);
  for (int i = 0; i < threads; i++) {
    out[i] = malloc(count * sizeof **out);
    CHECK(pthread_create(&ids[i], NULL, run, out[i]) == 0);
  }
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  for (int i = 1; i < threads; i++) CHECK(!memcmp(out[0], out[i], count * sizeof **out));
  FILE* output = fopen(argv[2], "wb");
  fwrite(out[0], sizeof **out, count, output);
  fclose(output);
  printf("dots %ld\nconversions %ld\n", threads * count * 5, threads * count * 2);
  return report();
}
