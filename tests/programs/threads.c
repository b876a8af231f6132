// Threads. One scenario a run:
//   same T         T threads (a barrier lets them go at once) enter each of 32 pages of never-touched code: T * 32 * 8 probes
//   each T N       T threads call the same 8-probe function N times each: T * N * 8
//   churn N        N short-lived threads, eight at a time, three probes each: N * 3
// fma-sites: 256 + 8 + 3
#include <pthread.h>

#include "probe.h"

PROBE_PAGES(fresh, 32, 8);
PROBES(hot, 8, 64);
PROBES(brief, 3, 64);

static pthread_barrier_t barrier;
static long rounds;

static void *run_same(void *unused) {
  for (int page = 0; page < 32; page++) {
    pthread_barrier_wait(&barrier);
    probe(PAGED(fresh, page), 8);
  }
  return unused;
}

static void *run_each(void *unused) {
  for (long i = 0; i < rounds; i++) probe(hot, 8);
  return unused;
}

static void *run_brief(void *unused) {
  probe(brief, 3);
  return unused;
}

static void together(int threads, void *(*body)(void *)) {
  pthread_t *ids = calloc(threads, sizeof *ids);
  pthread_barrier_init(&barrier, NULL, threads);
  for (int i = 0; i < threads; i++) CHECK(pthread_create(&ids[i], NULL, body, NULL) == 0);
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  free(ids);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  tally_new();
  int n = atoi(argv[2]);
  if (!strcmp(argv[1], "same")) together(n, run_same);
  if (!strcmp(argv[1], "each")) rounds = atol(argv[3]), together(n, run_each);
  if (!strcmp(argv[1], "churn"))
    for (int i = 0; i < n; i += 8) together(n - i < 8 ? n - i : 8, run_brief);
  return report();
}
