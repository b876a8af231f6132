// A function of 40 pages, some of which somebody has written to before it first runs, without mprotect: as debuggers do, and dynamic linkers for text
// relocations. Memory has other bytes there than the file.
//   changed        40 probes a call, two calls
// fma-sites: 40
#include <fcntl.h>

#include "probe.h"

#define PAGES 40
#define PAGE 4096

// At the start of every page a probe, `addl $1, sum(%rip)`, and a jump to the next page.
asm(".pushsection .text.large, \"ax\"\n.balign 4096\n.type large, @function\nlarge:\n"
    ".rept 39\n" PROBE_INSN "addl $1, sum(%rip)\njmp . + 4096 - 12\n.balign 4096, 0xcc\n.endr\n" PROBE_INSN
    "addl $1, sum(%rip)\nret\n.size large, .-large\n.popsection");
probe_fn large;
int sum;

int main(void) {
  tally_new();
  const int memory = open("/proc/self/mem", O_WRONLY);
  if (memory < 0) return 2;
  int expected = PAGES;
  for (int page = 3; page < PAGES; page += 9) {
    const unsigned char* immediate = (const unsigned char*)large + page * PAGE + PROBE_BYTES + 6;
    const unsigned char now = (unsigned char)(50 + page);
    CHECK(*immediate == 1);
    CHECK(pwrite(memory, &now, 1, (off_t)immediate) == 1);
    expected += now - 1;
  }
  for (int call = 1; call <= 2; call++) {
    probe(large, PAGES);
    CHECK(sum == call * expected);
  }
  return report();
}
