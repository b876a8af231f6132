// A library whose thread blocks every signal, as ZeroMQ's do, and never leaves the library's own code. `start` returns once it runs; `turns` counts.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static atomic_long count;

static void *spin(void *unused) {
  for (;;) atomic_fetch_add(&count, 1);
  return unused;
}

long turns(void) { return count; }

int start(void) {
  sigset_t all, before;
  pthread_t id;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int failed = pthread_create(&id, NULL, spin, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  while (!failed && count == 0);
  return failed;
}
