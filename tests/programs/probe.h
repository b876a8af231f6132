// Shared by the test programs: probes, and the tally of how many FMAs a program executes by construction.
//
// A probe is one FMA, acc += a * b with a = 1 + 2^-9 and b = 1. Natively (and in mode fp32) it adds 513/512. With a rounded to BF16 (modes mp and bf16) it
// adds exactly 1. So the sum over all probes, in units of 1/512, tells how many of them escaped emulation, without believing any counter of the engine.
// A straight run has at most 128 probes: BF16 counts to 256.
//
// Every program ends with report(): the lines `fmas` (single precision, probes included), `fp64`, `probes`, `units`. Its other output does not depend on
// the mode. It exits 1 when one of its own checks failed.
#pragma once
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROBE_A (1.0f + 0x1p-9f)
#define PROBE_BYTES 5  // c4 e2 71 b8 c2: vfmadd231ps %xmm2, %xmm1, %xmm0
#define PROBE_INSN "vfmadd231ps %xmm2, %xmm1, %xmm0\n"

/// acc in xmm0, a in xmm1, b in xmm2: the C calling convention loads a probe's operands.
typedef float probe_fn(float acc, float a, float b);

// The tally lies in a shared file without a name, so that children, killed children and (through the descriptor) exec'ed programs add to the same one.
struct tally {
  atomic_long fmas, fp64, probes, units, failures;
};
static struct tally* tally;
static int tally_fd;

static inline void tally_open(int fd) {
  tally_fd = fd;
  tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (tally == MAP_FAILED) abort();
}

static inline void tally_new(void) {
  int fd = memfd_create("tally", 0);
  if (fd < 0 || ftruncate(fd, sizeof *tally)) abort();
  tally_open(fd);
}

/// Adds `count` probes that left `acc` in their accumulator (which started at 0).
static inline void tally_probes(long count, float acc) {
  atomic_fetch_add(&tally->fmas, count);
  atomic_fetch_add(&tally->probes, count);
  atomic_fetch_add(&tally->units, (long)(acc * 512));
}

/// Adds FMAs whose values are checked in another way.
static inline void tally_fmas(long count) { atomic_fetch_add(&tally->fmas, count); }
static inline void tally_fp64(long count) { atomic_fetch_add(&tally->fp64, count); }

/// Calls code that is known to hold `count` probes on its path.
static inline void probe(probe_fn* code, long count) {
  volatile float a = PROBE_A, b = 1;
  tally_probes(count, code(0, a, b));
}

static inline int report(void) {
  printf("fmas %ld\nfp64 %ld\nprobes %ld\nunits %ld\n", tally->fmas, tally->fp64, tally->probes, tally->units);
  return tally->failures != 0;
}

#define CHECK(condition)                                                \
  do {                                                                  \
    if (!(condition)) {                                                 \
      atomic_fetch_add(&tally->failures, 1);                            \
      dprintf(1, "failed %s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                   \
  } while (0)

// A function of `count` probes, aligned to `align`. `align` 4096 puts it on a page that nothing before it has touched.
#define PROBES(name, count, align)                                                                                                     \
  asm(".pushsection .text.probes, \"ax\"\n.balign " #align "\n.globl " #name "\n.type " #name ", @function\n" #name ":\n.rept " #count \
      "\n" PROBE_INSN ".endr\nret\n.size " #name ", .-" #name "\n.popsection");                                                        \
  extern probe_fn name

// `pages` such functions one page apart; the i-th is PAGED(name, i).
#define PROBE_PAGES(name, pages, count)                                                                                                             \
  asm(".pushsection .text.probes, \"ax\"\n.balign 4096\n.globl " #name "\n" #name                                                                   \
      ":\n.set i, 0\n.altmacro\n"                                                                                                                   \
      ".macro " #name "_one n\n.balign 4096\n.type " #name "_\\n, @function\n" #name "_\\n:\n.rept " #count "\n" PROBE_INSN                         \
      ".endr\nret\n.size " #name "_\\n, .-" #name "_\\n\n.endm\n.rept " #pages "\n" #name "_one %i\n.set i, i+1\n.endr\n.noaltmacro\n.popsection"); \
  extern probe_fn name
#define PAGED(name, i) ((probe_fn*)((char*)(name) + 4096 * (i)))

static inline int cpu_has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq");
}

/// Lines of /proc/self/maps. Reads with its own buffer: the number itself must not depend on malloc.
static inline long count_maps(void) {
  static char buffer[1 << 16];
  long lines = 0, n;
  FILE* maps = fopen("/proc/self/maps", "r");
  while ((n = fread(buffer, 1, sizeof buffer, maps)) > 0)
    for (long i = 0; i < n; i++) lines += buffer[i] == '\n';
  fclose(maps);
  return lines;
}
