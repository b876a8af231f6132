// Runs until it is told to end, for tests that switch modes meanwhile:
//   steady FILE PROCESSES THREADS       PROCESSES children of a fork and the program itself, THREADS threads each, all in a hot loop of probes until FILE
//                                       is gone
// A probe's value tells its mode: see probe.h. `exact` counts runs of 8 probes that gave the native sum, `rounded` those that gave BF16's; `other` is 0.
#include <pthread.h>
#include <sys/wait.h>

#include "probe.h"

PROBES(hot, 8, 64);

struct result {
  atomic_long exact, rounded, other;
};
static struct result *result;
static const char *file;

static void *run(void *unused) {
  volatile float a = PROBE_A, b = 1;
  long exact = 0, rounded = 0, other = 0;
  while (access(file, F_OK) == 0) {
    for (int i = 0; i < 1000; i++) {
      float sum = hot(0, a, b);
      if (sum == 8 * PROBE_A) exact++;
      else if (sum == 8) rounded++;
      else other++;
    }
  }
  atomic_fetch_add(&result->exact, exact);
  atomic_fetch_add(&result->rounded, rounded);
  atomic_fetch_add(&result->other, other);
  atomic_fetch_add(&tally->fmas, 8 * (exact + rounded + other));
  return unused;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  file = argv[1];
  int children = atoi(argv[2]), threads = atoi(argv[3]);
  tally_new();
  result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  probe(hot, 8);  // what children inherit is compiled
  for (int i = 0; i < children; i++) {
    if (fork() == 0) {
      children = -1;
      break;
    }
  }
  pthread_t ids[64];
  for (int i = 0; i < threads; i++) pthread_create(&ids[i], NULL, run, NULL);
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  if (children < 0) return 0;
  while (wait(NULL) > 0) continue;
  printf("exact %ld\nrounded %ld\nother %ld\n", result->exact, result->rounded, result->other);
  return report();
}
