// Processes. One scenario a run; every process touches the code of pages 0-3 (10 probes each) as the scenario says:
//   before        fork before anything was translated; both run pages 0-3
//   after         parent runs pages 0-1, forks; both run pages 0-3
//   grandchildren four generations, two children each, every process runs pages 0-3 (1 + 2 + 4 + 8 processes)
//   quick_exit    the child runs pages 0-3 and leaves by _exit
//   killed        the child runs pages 0-3, then dies by SIGKILL
//   killed_busy   the child runs the same page until it is killed from outside, having said how often it ran it
//   exec          the process runs pages 0-3, then execs itself as `leaf`
//   exec_child, vfork, spawn, system, fexecve, scrubbed    a child that execs `leaf`; scrubbed has an empty environment
//   threads N     N forks, while four threads run page 0 without pause; every child runs pages 0-3 (deadlock?)
//   leaf FD       what exec'ed processes run: pages 0-3; adds to the tally of the open file FD
// fma-sites: 40
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "probe.h"

PROBE_PAGES(page, 4, 10);
extern char **environ;

static void run_pages(int count) {
  for (int i = 0; i < count; i++) probe(PAGED(page, i), 10);
}

static void reap(pid_t child, int expected_status) {
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == expected_status);
}

/// Runs `body` in a forked child, which exits by exit().
static void in_child(void (*body)(int), int argument) {
  pid_t child = fork();
  if (!child) {
    body(argument);
    exit(0);
  }
  reap(child, 0);
}

static void generations(int left) {
  run_pages(4);
  for (int i = 0; i < 2 && left > 1; i++) in_child(generations, left - 1);
}

static void killed(void) {
  pid_t child = fork();
  if (!child) {
    run_pages(4);
    raise(SIGKILL);
  }
  reap(child, SIGKILL);
}

// The parent may only kill between two probes: it takes a lock that the child holds while it runs one.
static void killed_busy(void) {
  struct shared {
    atomic_int lock;
    atomic_long runs;
  } *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t child = fork();
  while (!child) {
    while (atomic_exchange(&shared->lock, 1)) {
    }
    run_pages(1);
    shared->runs++;
    shared->lock = 0;
    usleep(0);
  }
  while (shared->runs < 1000) usleep(100);
  while (atomic_exchange(&shared->lock, 1)) {
  }
  kill(child, SIGKILL);
  reap(child, SIGKILL);
}

static char descriptor[16];
static char *leaf[] = {"fork", "leaf", descriptor, NULL};
static char *nothing[] = {NULL};

static void exec_leaf(int scrub) {
  execve("/proc/self/exe", leaf, scrub ? nothing : environ);
  _exit(127);
}

static void with_vfork(void) {
  pid_t child = vfork();
  if (!child) {
    execv("/proc/self/exe", leaf);
    _exit(127);
  }
  reap(child, 0);
}

static void with_fexecve(int unused) {
  (void)unused;
  fexecve(open("/proc/self/exe", O_RDONLY), leaf, environ);
  _exit(127);
}

static void with_spawn(void) {
  pid_t child;
  CHECK(!posix_spawn(&child, "/proc/self/exe", NULL, NULL, leaf, environ));
  reap(child, 0);
}

static void with_system(const char *self) {
  char command[4200];
  snprintf(command, sizeof command, "'%s' leaf %s >/dev/null && true", self, descriptor);
  CHECK(system(command) == 0);
}

static atomic_int stop;
static void *keep_running(void *unused) {
  while (!stop) run_pages(1);
  return unused;
}

static void among_threads(int n) {
  pthread_t ids[4];
  for (int i = 0; i < 4; i++) pthread_create(&ids[i], NULL, keep_running, NULL);
  for (int i = 0; i < n; i++) {
    pid_t child = fork();
    if (!child) {
      run_pages(4);
      _exit(0);
    }
    reap(child, 0);
  }
  stop = 1;
  for (int i = 0; i < 4; i++) pthread_join(ids[i], NULL);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  const char *scenario = argv[1];
  if (!strcmp(scenario, "leaf")) {
    tally_open(atoi(argv[2]));
    run_pages(4);
    return 0;
  }
  tally_new();
  snprintf(descriptor, sizeof descriptor, "%d", tally_fd);
  if (!strcmp(scenario, "before")) in_child(run_pages, 4), run_pages(4);
  if (!strcmp(scenario, "after")) run_pages(2), in_child(run_pages, 4), run_pages(4);
  if (!strcmp(scenario, "grandchildren")) generations(4);
  if (!strcmp(scenario, "quick_exit")) {
    pid_t child = fork();
    if (!child) run_pages(4), _exit(0);
    reap(child, 0);
  }
  if (!strcmp(scenario, "killed")) killed();
  if (!strcmp(scenario, "killed_busy")) killed_busy();
  if (!strcmp(scenario, "exec")) {
    pid_t child = fork();
    if (!child) run_pages(4), exec_leaf(0);
    reap(child, 0);
  }
  if (!strcmp(scenario, "exec_child")) in_child(exec_leaf, 0);
  if (!strcmp(scenario, "scrubbed")) in_child(exec_leaf, 1);
  if (!strcmp(scenario, "vfork")) with_vfork();
  if (!strcmp(scenario, "fexecve")) in_child(with_fexecve, 0);
  if (!strcmp(scenario, "spawn")) with_spawn();
  if (!strcmp(scenario, "system")) with_system(argv[0]);
  if (!strcmp(scenario, "threads")) among_threads(atoi(argv[2]));
  return report();
}
