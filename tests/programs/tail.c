// The matrix kernel that oneDNN makes for a narrow result (3 columns): 16 accumulators in zmm16-31, operands by broadcast, a tail mask in k3 that guards every
// load and store. What lies behind the mask must stay as it is, and the masks must survive: a lost one makes the stores overrun their row.
//   tail PASSES      PASSES * 4 * 16 FMAs, in two calls. All numbers are small integers, so that native, fp32 and mp give the same bits; AVX-512 only
// fma-sites: 64
#include "probe.h"

// float kernel(const float *a, const float *b, float *c, long passes, uint64_t masks[8]): c[16][3] += a[16][4 * passes] * b[4 * passes][3 of 16]
asm(".pushsection .text.tail, \"ax\"\n.balign 64\n.type kernel, @function\nkernel:\n.irp k, 1, 2, 3, 4, 5, 6, 7\nkmovq 8*\\k(%r8), %k\\k\n.endr\n"
    ".irp r, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\nvpxord %zmm\\r, %zmm\\r, %zmm\\r\n.endr\n"
    "1:\n.irp step, 0, 1, 2, 3\nvmovups 64*\\step(%rsi), %zmm15{%k3}{z}\nprefetcht0 64*\\step+256(%rsi)\n"
    ".irp r, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\nvfmadd231ps (4*\\step + 4096*(\\r-16))(%rdi){1to16}, %zmm15, %zmm\\r\n.endr\n.endr\n"
    "add $16, %rdi\nadd $256, %rsi\ndec %rcx\ncmp $0, %rcx\njg 1b\n"
    ".irp r, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\nvaddps 12*(\\r-16)(%rdx), %zmm\\r, %zmm\\r{%k3}{z}\n.endr\n"
    ".irp r, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\nvmovups %zmm\\r, 12*(\\r-16)(%rdx){%k3}\n.endr\n"
    ".irp k, 1, 2, 3, 4, 5, 6, 7\nkmovq %k\\k, 8*\\k(%r8)\n.endr\nvzeroupper\nret\n.size kernel, .-kernel\n.popsection");
void kernel(const float *a, const float *b, float *c, long passes, uint64_t *masks);

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  static float a[16][1024], b[1024][16], c[64 + 16 * 3 + 64], expected[16][3];
  const long passes = atol(argv[1]), k = 4 * passes;
  if (passes < 1 || k > 1024) return 2;
  tally_new();
  for (long i = 0; i < k; i++)
    for (int j = 0; j < 16; j++) a[j][i] = (float)((i * 7 + j * 3) % 5 - 2), b[i][j] = (float)((i * 5 + j) % 7 - 3);
  for (int r = 0; r < 16; r++)
    for (int n = 0; n < 3; n++)
      for (long i = 0; i < k; i++) expected[r][n] += 2 * a[r][i] * b[i][n];
  for (int i = 0; i < 64; i++) c[i] = c[64 + 48 + i] = 1234.5f;
  uint64_t masks[8], before[8];
  for (int i = 0; i < 8; i++) masks[i] = before[i] = i == 3 ? 7 : 0x0123456789abcdefull * (i + 1);
  for (int call = 0; call < 2; call++) kernel(a[0], b[0], c + 64, passes, masks);
  tally_fmas(2 * passes * 64);
  CHECK(!memcmp(masks, before, sizeof masks));
  for (int i = 0; i < 64; i++) CHECK(c[i] == 1234.5f && c[64 + 48 + i] == 1234.5f);
  CHECK(!memcmp(c + 64, expected, sizeof expected));
  return report();
}
