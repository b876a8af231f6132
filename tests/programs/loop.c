// Loops of packed FMAs whose values a test recomputes.   loop KIND N
//   xmm, ymm    4 VEX FMAs a pass: forms 213, 231, 132, and 231 with a memory operand
//   zmm         4 EVEX FMAs a pass, the same
//   masked      4 EVEX FMAs a pass: merged under k1, zeroed under k2, from a broadcast, and scalar
//   double      2 double and 1 single precision a pass: N single, 2 * N double
// Prints the inputs a, b, c and the accumulators after the loop, as the bits of their lanes. N FMAs four times.
// fma-sites: 4 + 4 + 4 + 4 + 3
#include "probe.h"

// One row a register: a, b and the accumulators x, y, z, w.
// |a| < 1 keeps everything bounded.
struct state {
  float lane[6][16];
};

#define LOOP(name, kind, fmas)                                                                                                                       \
  asm(".pushsection .text.loops, \"ax\"\n.balign 64\n.type loop_" #name ", @function\nloop_" #name ":\n.irp i, 0, 1, 2, 3, 4, 5\n"                        \
      "vmovups 64*\\i(%rsi), %" kind "\\i\n.endr\n1:\n" fmas "dec %rdi\njnz 1b\n.irp i, 0, 1, 2, 3, 4, 5\nvmovups %" kind "\\i, 64*\\i(%rsi)\n.endr\n" \
      "vzeroupper\nret\n.size loop_" #name ", .-loop_" #name "\n.popsection");                                                                        \
  void loop_##name(long n, struct state *s)

#define FORMS(kind)                                                          \
  "vfmadd213ps %" kind "1, %" kind "0, %" kind "2\n"  /* x = a*x + b */      \
  "vfnmadd231ps %" kind "2, %" kind "0, %" kind "3\n" /* y = -(a*x) + y */   \
  "vfmadd132ps %" kind "0, %" kind "1, %" kind "3\n"  /* y = y*a + b */      \
  "vfmaddsub132ps (%rsi), %" kind "1, %" kind "4\n"   /* z = z*a -+ b */

LOOP(xmm, "xmm", FORMS("xmm"));
LOOP(ymm, "ymm", FORMS("ymm"));
LOOP(zmm, "zmm", FORMS("zmm"));
LOOP(masked, "zmm",
     "vfmadd213ps %zmm1, %zmm0, %zmm2{%k1}\n"      // x = a*x + b in the lanes of k1
     "vfmadd213ps %zmm1, %zmm0, %zmm3{%k2}{z}\n"   // y = a*y + b in the lanes of k2, 0 elsewhere
     "vfmsub132ps 4(%rsi){1to16}, %zmm1, %zmm4\n"  // z = z*a[1] - b
     "vfnmsub213ss %xmm1, %xmm0, %xmm5\n");        // w = -(a*w) - b in lane 0
LOOP(doubles, "ymm",
     "vfmadd213pd %ymm1, %ymm0, %ymm2\n"
     "vfnmadd132sd %xmm0, %xmm1, %xmm3\n"
     "vfmadd213ps %ymm1, %ymm0, %ymm4\n");

static void print(const char *name, const float *lanes) {
  printf("%s", name);
  for (int i = 0; i < 16; i++) {
    uint32_t bits;
    memcpy(&bits, &lanes[i], 4);
    printf(" %08x", bits);
  }
  printf("\n");
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *kind = argv[1];
  long n = atol(argv[2]);
  struct state s;
  uint32_t draw = 12345;
  tally_new();
  for (int r = 0; r < 6; r++)
    for (int i = 0; i < 16; i++) {
      draw = draw * 1664525 + 1013904223;
      s.lane[r][i] = ((int32_t)draw >> 7) * (r == 0 ? 0x1.cp-25f : 0x1p-23f);  // |a| < 7/8, the others below 2
    }
  if (!strcmp(kind, "double"))  // registers 0-3 as doubles: 8 of them
    for (int r = 0; r < 4; r++)
      for (int i = 0; i < 8; i++) {
        double value = s.lane[r][i] / 3;
        memcpy((char *)s.lane[r] + 8 * i, &value, 8);
      }
  for (int r = 0; r < 6; r++) print((const char *[]){"a", "b", "x", "y", "z", "w"}[r], s.lane[r]);
  if (!strcmp(kind, "xmm")) loop_xmm(n, &s);
  if (!strcmp(kind, "ymm")) loop_ymm(n, &s);
  if (!strcmp(kind, "zmm")) loop_zmm(n, &s);
  if (!strcmp(kind, "masked")) {
    asm volatile("kmovw %0, %%k1\nkmovw %1, %%k2" ::"r"(0x5a3c), "r"(0xc0f5));
    loop_masked(n, &s);
  }
  if (!strcmp(kind, "double")) {
    loop_doubles(n, &s);
    tally_fmas(n);
    tally_fp64(2 * n);
  } else {
    tally_fmas(4 * n);
  }
  for (int r = 2; r < 6; r++) print((const char *[]){"mode-dependent x", "mode-dependent y", "mode-dependent z", "mode-dependent w"}[r - 2], s.lane[r]);
  return report();
}
