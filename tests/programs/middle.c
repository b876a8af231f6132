// Code that is entered where nobody announced it. One scenario a run:
//   straight ORDER   64 probes in a row, entered by computed address at each of them; ORDER up, down or twice (2080 probes; twice: 4160)
//   pointers         256 nameless functions on 16 pages, each first reached through a computed pointer, in scattered order: 256 * 4 probes
//   blocks           a computed goto (jump table) into 8 blocks of 5 probes, in an order the program draws: 1000 * 5
//   straddle ORDER   an FMA that lies across two pages, then a function on the second page; ORDER says which is touched first: 6 + 6 + 3 probes
//   inside           a conditional jump from elsewhere into the middle of a loop body of probes: 100 * 3 + 2
// fma-sites: 64 + 1024 + 40 + 6 + 3 + 5
#include "probe.h"

PROBES(straight, 64, 64);

// No symbols, no unwind information: only the pointers know that these are functions.
asm(".pushsection .text.nameless, \"ax\"\n.balign 4096\nnameless:\n.rept 256\n.rept 4\n" PROBE_INSN ".endr\nret\n.balign 256, 0xcc\n.endr\n.popsection");
extern char nameless[] asm("nameless");

// float blocks(acc, a, b, block): jumps through a table of offsets, as compilers emit for a switch.
asm(".pushsection .text.blocks, \"ax\"\n.balign 64\n.type blocks, @function\nblocks:\nlea block_table(%rip), %rax\nmovslq (%rax,%rdi,4), %rdx\nadd %rdx, %rax\njmp *%rax\n"
    ".set i, 0\n.altmacro\n.macro one n\nblock_\\n:\n.rept 5\n" PROBE_INSN ".endr\njmp blocks_end\n.endm\n.rept 8\none %i\n.set i, i+1\n.endr\n"
    "blocks_end:\nret\n.size blocks, .-blocks\n.popsection\n"
    ".pushsection .rodata\n.balign 4\nblock_table:\n.set i, 0\n.macro entry n\n.long block_\\n - block_table\n.endm\n.rept 8\nentry %i\n.set i, i+1\n.endr\n.noaltmacro\n.popsection");
float blocks(float acc, float a, float b, long block);

// Two copies, because each order needs untouched pages. The third probe of `name` begins 2 bytes before the page's end; `name_next` is the next function.
#define STRADDLE(name)                                                                                                                   \
  asm(".pushsection .text.straddle, \"ax\"\n.balign 4096\n.skip 4096 - 12, 0xcc\n.type " #name ", @function\n" #name ":\n.rept 6\n" PROBE_INSN \
      ".endr\nret\n.size " #name ", .-" #name "\n.balign 16\n.type " #name "_next, @function\n" #name "_next:\n.rept 3\n" PROBE_INSN           \
      ".endr\nret\n.size " #name "_next, .-" #name "_next\n.popsection");                                                                      \
  extern probe_fn name, name##_next
STRADDLE(straddle);

// float inside(acc, a, b, n): n passes of three probes; the first pass begins at the second of them, then falls out through one more and two at the end.
asm(".pushsection .text.inside, \"ax\"\n.balign 64\n.type inside, @function\ninside:\ntest %rdi, %rdi\njnz inside_middle\ninside_top:\n" PROBE_INSN
    "inside_middle:\n" PROBE_INSN PROBE_INSN "dec %rdi\njg inside_top\n" PROBE_INSN PROBE_INSN "ret\n.size inside, .-inside\n.popsection");
float inside(float acc, float a, float b, long n);

static void enter(int first) { probe((probe_fn *)((char *)straight + PROBE_BYTES * first), 64 - first); }

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  const char *scenario = argv[1], *order = argc > 2 ? argv[2] : "";
  volatile float a = PROBE_A, b = 1;
  tally_new();
  if (!strcmp(scenario, "straight")) {
    for (int i = 0; i < 64; i++) enter(!strcmp(order, "down") ? 63 - i : i);
    for (int i = 0; i < 64 && !strcmp(order, "twice"); i++) enter(i * 37 % 64);
  }
  if (!strcmp(scenario, "pointers"))
    for (int i = 0; i < 256; i++) probe((probe_fn *)(nameless + 256 * (i * 101 % 256)), 4);
  if (!strcmp(scenario, "blocks"))
    for (unsigned i = 0, draw = 1; i < 1000; i++, draw = draw * 1664525 + 1013904223) tally_probes(5, blocks(0, a, b, draw >> 29));
  if (!strcmp(scenario, "straddle")) {
    if (!strcmp(order, "second")) probe(straddle_next, 3);
    probe(straddle, 6);
    if (!strcmp(order, "first")) probe(straddle_next, 3);
    probe((probe_fn *)((char *)straddle + 2 * PROBE_BYTES), 4);  // straight at the one that lies across
    probe((probe_fn *)((char *)straddle + 4 * PROBE_BYTES), 2);
  }
  if (!strcmp(scenario, "inside"))
    for (int i = 1; i <= 30; i++) tally_probes(3 * i - 1 + 2, inside(0, a, b, i));
  return report();
}
