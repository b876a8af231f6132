// A library of named functions, for tests that tell code apart by name: alpha, beta, and tanhf, which the default scope leaves native. Each runs 8
// probes, and returns their sum: 8 when rounded to BF16, 8 * 513/512 natively. beta_many runs beta's until its sums have been looked at N times.
#include "probe.h"

PROBES(alpha_code, 8, 64);
PROBES(beta_code, 8, 64);
PROBES(tanhf, 8, 64);

// The names above hold the FMAs; these give them their operands.
#define CALLED(name, code) \
  float name(void) {       \
    volatile float a = PROBE_A, b = 1; \
    return code(0, a, b);  \
  }
CALLED(alpha, alpha_code)
CALLED(beta, beta_code)
CALLED(gamma_, tanhf)

/// Runs both functions `n` times each; counts sums that were neither native nor rounded.
long mixed(long n, long *native) {
  long wrong = 0;
  for (long i = 0; i < n; i++) {
    float sums[] = {alpha(), beta()};
    for (int k = 0; k < 2; k++) {
      if (sums[k] == 8 * PROBE_A) ++native[k];
      else if (sums[k] != 8) ++wrong;
    }
  }
  return wrong;
}
