// What an FMA must not touch. One scenario a run:
//   red_zone   a leaf function keeps 128 bytes below its stack pointer across 8 probes
//   flags      every combination of CF, PF, AF, ZF, SF, OF and DF lives across 4 probes (128 * 4)
//   carry      a 256-bit addition whose carry chain runs through 4 probes; 1000 times
//   branch     cmp, probe, jcc: both outcomes, 200 times, 3 or 5 probes
//   vectors    all other vector registers (with AVX-512: all 32, and k0-k7), all general registers, across 20 probes that write xmm0
//   x87        eight values on the x87 stack, its control and status word, across 8 probes
//   mxcsr      rounding up, flush-to-zero and cleared flags set by the program stay what they were: 8 probes at each of 5 settings. Prints the flags that
//              inexact, overflowing and underflowing FMAs raise and their results (native and fp32: the same; other modes may differ there)
// fma-sites: 8 + 4 + 4 + 5 + 20 + 20 + 8 + 1 + 8
#include "probe.h"

#define FUNCTION(name, body) \
  asm(".pushsection .text.registers, \"ax\"\n.balign 64\n.type " #name ", @function\n" #name ":\n" body "ret\n.size " #name ", .-" #name "\n.popsection")
#define REPEAT(n, body) ".rept " #n "\n" body ".endr\n"

// rdi: 16 words to keep; rsi: where they go afterwards.
FUNCTION(red_zone, ".set i, 0\n" REPEAT(16, "mov i(%rdi), %rax\nmov %rax, -128+i(%rsp)\n.set i, i+8\n") REPEAT(8, PROBE_INSN)
                       ".set i, 0\n" REPEAT(16, "mov -128+i(%rsp), %rax\nmov %rax, i(%rsi)\n.set i, i+8\n"));
float red_zone(float acc, float a, float b, const uint64_t *from, uint64_t *to);

// rdi: flags to have before; rsi: flags afterwards.
FUNCTION(flags, "push %rdi\npopf\n" REPEAT(4, PROBE_INSN) "pushf\npop %rax\ncld\nmov %rax, (%rsi)\n");
float flags(float acc, float a, float b, uint64_t before, uint64_t *after);

// rdi += rsi, four words each.
FUNCTION(carry, "mov (%rsi), %rax\nadd %rax, (%rdi)\n" PROBE_INSN "mov 8(%rsi), %rax\nadc %rax, 8(%rdi)\n" PROBE_INSN PROBE_INSN
                "mov 16(%rsi), %rax\nadc %rax, 16(%rdi)\n" PROBE_INSN "mov 24(%rsi), %rax\nadc %rax, 24(%rdi)\n");
float carry(float acc, float a, float b, uint64_t *to, const uint64_t *from);

FUNCTION(branch, "cmp %rdi, %rsi\n" REPEAT(3, PROBE_INSN) "jbe 1f\n" REPEAT(2, PROBE_INSN) "1:\n");
float branch(float acc, float a, float b, uint64_t x, uint64_t y);

// registers.S
struct registers {
  uint8_t vector[32][64];
  uint64_t opmask[8], gpr[16];
} registers_in, registers_out;
extern probe_fn vectors_avx, vectors_avx512;

FUNCTION(x87, ".set i, 0\n" REPEAT(8, "fldt i(%rdi)\n.set i, i+16\n") "fnstenv 128(%rsi)\nfldenv 128(%rsi)\n" REPEAT(8, PROBE_INSN)
                  "fnstenv 160(%rsi)\n.set i, 112\n" REPEAT(8, "fstpt i(%rsi)\n.set i, i-16\n"));
float x87(float acc, float a, float b, const void *in, void *out);

// One FMA between two reads of MXCSR. rdi: MXCSR to have; rsi: MXCSR afterwards. The caller's comes back.
FUNCTION(mxcsr_one, "stmxcsr -8(%rsp)\nldmxcsr (%rdi)\n" PROBE_INSN "stmxcsr (%rsi)\nldmxcsr -8(%rsp)\n");
FUNCTION(mxcsr_probes, "stmxcsr -8(%rsp)\nldmxcsr (%rdi)\n" REPEAT(8, PROBE_INSN) "stmxcsr (%rsi)\nldmxcsr -8(%rsp)\n");
float mxcsr_one(float acc, float a, float b, const uint32_t *set, uint32_t *got), mxcsr_probes(float acc, float a, float b, const uint32_t *set, uint32_t *got);

static volatile float a = PROBE_A, b = 1;

static void test_red_zone(void) {
  uint64_t in[16], out[16];
  for (int i = 0; i < 16; i++) in[i] = 0x0123456789abcdefull * (i + 3);
  for (int pass = 0; pass < 3; pass++) {
    tally_probes(8, red_zone(0, a, b, in, out));
    CHECK(!memcmp(in, out, sizeof in));
  }
}

static void test_flags(void) {
  static const int bit[] = {0, 2, 4, 6, 7, 11, 10};
  const uint64_t all = 0xcd5;  // CF PF AF ZF SF DF OF
  for (int set = 0; set < 128; set++) {
    uint64_t before = 0x202, after = 0;
    for (int i = 0; i < 7; i++) before |= (uint64_t)(set >> i & 1) << bit[i];
    tally_probes(4, flags(0, a, b, before, &after));
    CHECK((before & all) == (after & all));
  }
}

static void test_carry(void) {
  uint64_t sum[4] = {0}, step[4] = {0xfedcba9876543211, ~0ull, 0x0123456789abcdef, 1}, expected[4] = {0};
  for (int i = 0; i < 1000; i++) {
    tally_probes(4, carry(0, a, b, sum, step));
    unsigned __int128 low = 0;
    for (int word = 0; word < 4; word++) {
      low += (unsigned __int128)expected[word] + step[word];
      expected[word] = (uint64_t)low;
      low >>= 64;
    }
    CHECK(!memcmp(sum, expected, sizeof sum));
  }
}

static void test_branch(void) {
  for (uint64_t i = 0; i < 200; i++) {
    uint64_t y = i * 7919 % 200;
    tally_probes(y <= i ? 3 : 5, branch(0, a, b, i, y));
  }
}

static void test_vectors(void) {
  for (unsigned i = 0; i < sizeof registers_in; i++) ((uint8_t *)&registers_in)[i] = 1 + i * 31 % 251;
  for (int wide = 0; wide <= cpu_has_avx512(); wide++)
    for (int pass = 0; pass < 3; pass++) {
      memset(&registers_out, 0, sizeof registers_out);
      probe(wide ? vectors_avx512 : vectors_avx, 20);
      for (int i = 3; i < (wide ? 32 : 16); i++) CHECK(!memcmp(registers_in.vector[i], registers_out.vector[i], wide ? 64 : 32));
      CHECK(!wide || !memcmp(registers_in.opmask, registers_out.opmask, sizeof registers_in.opmask));
      CHECK(!memcmp(registers_in.gpr, registers_out.gpr, 15 * 8));
    }
}

static void test_x87(void) {
  long double in[8], out[12];
  memset(in, 0, sizeof in);
  for (int i = 0; i < 8; i++) in[i] = 1.0L / (i + 3);
  for (int pass = 0; pass < 3; pass++) {
    memset(out, 0, sizeof out);
    tally_probes(8, x87(0, a, b, in, out));
    CHECK(!memcmp((char *)out + 128, (char *)out + 160, 12));  // control, status and tag word
    for (int i = 0; i < 8; i++) CHECK(!memcmp(&in[i], &out[i], 10));
  }
}

static void test_mxcsr(void) {
  static const uint32_t settings[] = {0x1f80, 0x5f80, 0x3f80, 0x9fc0, 0x7f80};  // default, up, down, flush to zero + denormals are zero, toward zero
  static const float cases[][3] = {{1, 0x1.000002p0f, 0x1.000002p0f}, {0, 0x1p127f, 4}, {0, 0x1p-100f, 0x1.8p-30f}, {0x1p-130f, 1, 1}, {0, __builtin_inff(), 0}};
  for (int s = 0; s < 5; s++) {
    uint32_t got = 0;
    tally_probes(8, mxcsr_probes(0, a, b, &settings[s], &got));
    CHECK((got & 0xffc0) == settings[s]);
    for (int i = 0; i < 5; i++) {
      float result = mxcsr_one(cases[i][0], cases[i][1], cases[i][2], &settings[s], &got);
      uint32_t bits;
      memcpy(&bits, &result, 4);
      CHECK((got & 0xffc0) == settings[s]);
      tally_fmas(1);
      printf("mode-dependent %x %x flags %x result %08x\n", settings[s], i, got & 0x3f, bits);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  const char *scenario = argv[1];
  tally_new();
  if (!strcmp(scenario, "red_zone")) test_red_zone();
  if (!strcmp(scenario, "flags")) test_flags();
  if (!strcmp(scenario, "carry")) test_carry();
  if (!strcmp(scenario, "branch")) test_branch();
  if (!strcmp(scenario, "vectors")) test_vectors();
  if (!strcmp(scenario, "x87")) test_x87();
  if (!strcmp(scenario, "mxcsr")) test_mxcsr();
  return report();
}
