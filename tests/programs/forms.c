// Every form of every FMA instruction once, on inputs that a test chooses; the code is made by tests/engine/forms.py.
//   forms INPUT OUTPUT      INPUT: sets of 3 * 16 floats (a, b, c); OUTPUT: for each set, for each form, the 64 bytes of its destination
#include <asm/prctl.h>
#include <sys/syscall.h>

#include "probe.h"

extern float in_a[16], in_b[16], in_c[16], out[][16];
extern const long form_count;
void forms_run(void);
__thread float in_c_tls[16] __attribute__((tls_model("initial-exec")));  // for operands relative to fs

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  float set[48];
  long sets = 0;
  FILE *input = fopen(argv[1], "rb"), *output = fopen(argv[2], "wb");
  if (!input || !output) return 2;
  tally_new();
  CHECK(!syscall(SYS_arch_prctl, ARCH_SET_GS, in_c));  // for operands relative to gs
  for (; fread(set, sizeof set, 1, input) == 1; sets++) {
    memcpy(in_a, set, 64);
    memcpy(in_b, set + 16, 64);
    memcpy(in_c, set + 32, 64);
    memcpy(in_c_tls, set + 32, 64);
    forms_run();
    fwrite(out, 64, form_count, output);
  }
  fclose(output);
  printf("sets %ld\nforms %ld\n", sets, form_count);
  return report();
}
