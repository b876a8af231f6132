// The library that dlopen.c loads: probes in a constructor, a destructor, an IFUNC's resolver and target, and a plain function.
// fma-sites: 4 + 3 + 6 + 8 + 10
#include "probe.h"

PROBES(called, 10, 4096);
float constructed, *destructor_target;

// Hidden, because the resolver runs before the library's symbols are bound.
#pragma GCC visibility push(hidden)
PROBES(four, 4, 16);
PROBES(three, 3, 16);
PROBES(six, 6, 16);
PROBES(eight, 8, 16);
static struct {
  float left;
  int runs;
} resolver;
#pragma GCC visibility pop

static float left_by(probe_fn *code) {
  volatile float a = PROBE_A, b = 1;
  return code(0, a, b);
}

// Runs once when the library is relocated, because the constructor calls `resolved`, and once for every dlsym.
static probe_fn *resolve(void) {
  resolver.left += left_by(six);
  resolver.runs++;
  return eight;
}
float resolved(float acc, float a, float b) __attribute__((ifunc("resolve")));

float resolver_left(void) { return resolver.left; }
int resolver_runs(void) { return resolver.runs; }

__attribute__((constructor)) static void construct(void) { constructed = left_by(four) + left_by(resolved); }
__attribute__((destructor)) static void destruct(void) { *destructor_target = left_by(three); }
