// A process that hides who it is, and runs probes until it is told to end:
//   disguised FILE title     overwrites its arguments and its environment, as setproctitle does; until FILE is gone
//   disguised FILE leave     its main thread ends, another one goes on
#include <pthread.h>

#include "probe.h"

extern char **environ;

PROBES(hot, 8, 64);

static const char *file;

static void *run(void *unused) {
  volatile float a = PROBE_A, b = 1;
  while (access(file, F_OK) == 0) {
    for (int i = 0; i < 1000; i++) hot(0, a, b);
  }
  return unused;
}

static void overwrite(char **argv) {
  char *end = argv[0];
  for (char **word = argv; *word; word++) end = *word + strlen(*word) + 1;
  for (char **word = environ; *word; word++) end = *word + strlen(*word) + 1;
  file = strdup(file);
  environ = NULL;
  memset(argv[0], 0, end - argv[0]);
  strcpy(argv[0], "busy");
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  file = argv[1];
  if (strcmp(argv[2], "title") == 0) {
    overwrite(argv);
    run(NULL);
    return 0;
  }
  pthread_t other;
  pthread_create(&other, NULL, run, NULL);
  pthread_exit(NULL);
}
