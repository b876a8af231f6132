// Bytes of FMA instructions that are data, between code that is not. They must read back unchanged after the code around them has run under emulation.
// 3 functions, 2 passes: 2 * (5 + 6 + 4) probes, plus 3 in a function that is read as data only.
#include "probe.h"

#define DATA ".byte 0xc4, 0xe2, 0x71, 0xb8, 0xc2\n"

// A constant after an unconditional jump inside a function, and one behind its return.
asm(".pushsection .text.data, \"ax\"\n.balign 64\n.globl jumped\n.type jumped, @function\njumped:\n.rept 3\n" PROBE_INSN ".endr\njmp 1f\n"
    ".globl inner\ninner:\n.rept 3\n" DATA ".endr\n.byte 0x41\n1:\n.rept 2\n" PROBE_INSN ".endr\nret\n.size jumped, .-jumped\n.balign 16\n"
    // A table between two functions, as hand-written assembly has them.
    ".globl table\n.type table, @object\ntable:\n.rept 2\n" DATA ".endr\n.byte 1, 2, 3\n.size table, .-table\n.balign 16\n"
    // A function that reads its own constant: five bytes behind the jump, as an integer.
    ".globl reader\n.type reader, @function\nreader:\n.rept 3\n" PROBE_INSN ".endr\nmov constant(%rip), %rax\nmov %rax, (%rdi)\njmp 2f\nconstant:\n" DATA
    ".byte 0xc4, 0xe2, 0x71\n2:\n.rept 3\n" PROBE_INSN ".endr\nret\n.size reader, .-reader\n"
    // An immediate that holds the bytes of an FMA: inside an instruction, at its end.
    ".balign 16\n.globl immediate\n.type immediate, @function\nimmediate:\n.rept 2\n" PROBE_INSN ".endr\nmovabs $0xc2b871e2c4, %rax\nmov %rax, (%rdi)\n.rept 2\n" PROBE_INSN
    ".endr\nret\n.size immediate, .-immediate\n.popsection");
extern probe_fn jumped;
extern const unsigned char inner[], table[];
float reader(float acc, float a, float b, uint64_t *to), immediate(float acc, float a, float b, uint64_t *to);

int main(void) {
  static const unsigned char data[5] = {0xc4, 0xe2, 0x71, 0xb8, 0xc2};
  volatile float a = PROBE_A, b = 1;
  uint64_t seen = 0;
  tally_new();
  for (int pass = 0; pass < 2; pass++) {
    probe(jumped, 5);
    for (int i = 0; i < 3; i++) CHECK(!memcmp(inner + 5 * i, data, 5));
    for (int i = 0; i < 2; i++) CHECK(!memcmp(table + 5 * i, data, 5));
    tally_probes(6, reader(0, a, b, &seen));
    CHECK(seen == 0x71e2c4c2b871e2c4);
    tally_probes(4, immediate(0, a, b, &seen));
    CHECK(seen == 0xc2b871e2c4);
  }
  return report();
}
