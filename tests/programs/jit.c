// Code that the program writes itself. One scenario a run:
//   rwx N       one writable and executable page, rewritten N times with 1..100 probes and run after each
//   wx N        the same with mprotect between writing and running
//   patch N     a function that grows in place: its return is overwritten by a probe and a return, without any system call
//   behind N    a function that goes to another page and comes back: that page alone is rewritten, N times
//   pages N     one thread runs page B without pause while the main thread rewrites and runs page A of the same mapping N times
//   pointers    64 functions on one page; the first is run, the others later through pointers
//   table       code with a constant table before and behind it whose bytes look like FMAs; code and program read them unchanged
//   readback    the program reads its code back after running it, and runs a copy of it elsewhere
//   cycles N    mmap, write, mprotect, run 7 probes, munmap; N times, neither mappings nor memory may grow
//   dual N      a memory file mapped twice, writable and executable; written through the one and run through the other, N times
//   moved       code that mremap moves to another address after it has run
//   file        code in a private mapping of a file
// fma-sites: 0
#include <pthread.h>
#include <sys/mman.h>

#include "probe.h"

enum { kPage = 4096 };
static const unsigned char kProbe[PROBE_BYTES] = {0xc4, 0xe2, 0x71, 0xb8, 0xc2};

/// Writes a function of `count` probes; returns its end.
static unsigned char *emit(unsigned char *to, int count) {
  for (int i = 0; i < count; i++, to += PROBE_BYTES) memcpy(to, kProbe, PROBE_BYTES);
  *to++ = 0xc3;
  return to;
}

/// Writes a jump; returns its end.
static unsigned char *jump(unsigned char *at, const unsigned char *target) {
  int32_t distance = (int32_t)(target - at - 5);
  *at = 0xe9;
  memcpy(at + 1, &distance, sizeof distance);
  return at + 5;
}

static unsigned char *map(long size, int protection) {
  unsigned char *at = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) abort();
  return at;
}

static int draw(int i) { return 1 + i * 37 % 100; }
static void run(void *code, int count) { probe((probe_fn *)(uintptr_t)code, count); }

static void rwx(int n) {
  unsigned char *code = map(kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
  for (int i = 0; i < n; i++) {
    emit(code, draw(i));
    run(code, draw(i));
  }
}

static void behind(int n) {
  unsigned char *first = map(2 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC), *second = first + kPage;
  unsigned char *back = jump(emit(first, 1) - 1, second);
  emit(back, 1);
  for (int i = 0; i < n; i++) {
    jump(emit(second, draw(i)) - 1, back);
    run(first, 1 + draw(i) + 1);
  }
}

static void wx(int n) {
  unsigned char *code = map(kPage, PROT_READ | PROT_WRITE);
  for (int i = 0; i < n; i++) {
    CHECK(!mprotect(code, kPage, PROT_READ | PROT_WRITE));
    emit(code, draw(i));
    CHECK(!mprotect(code, kPage, PROT_READ | PROT_EXEC));
    run(code, draw(i));
  }
}

static void patch(int n) {
  unsigned char *code = map(kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
  unsigned char *end = emit(code, 1);
  for (int i = 1; i <= n && i <= 100; i++) {
    run(code, i);
    end = emit(end - 1, 1);
  }
}

static atomic_int stop;

static void *keep_running(void *code) {
  while (!stop) run(code, 50);
  return NULL;
}

static void pages(int n) {
  unsigned char *a = map(2 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
  emit(a + kPage, 50);
  pthread_t other;
  pthread_create(&other, NULL, keep_running, a + kPage);
  for (int i = 0; i < n; i++) {
    emit(a, draw(i));
    run(a, draw(i));
  }
  stop = 1;
  pthread_join(other, NULL);
}

static void pointers(void) {
  unsigned char *code = map(kPage, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 64; i++) emit(code + 64 * i, 1 + i % 12);
  CHECK(!mprotect(code, kPage, PROT_READ | PROT_EXEC));
  for (int i = 0; i < 64; i++) run(code + 64 * i, 1 + i % 12);
}

// table: [60 bytes of FMA patterns][probes, ret][mov rax, [rip+table]; ret][patterns without a return behind them]
static void table(void) {
  unsigned char *page = map(kPage, PROT_READ | PROT_WRITE), *code = page + 64, *end;
  unsigned char pattern[60];
  for (int i = 0; i < 60; i++) pattern[i] = kProbe[i % 5];
  memcpy(page, pattern, 60);
  unsigned char *reader = emit(code, 9);
  static const unsigned char load[] = {0x48, 0x8b, 0x05, 1, 0, 0, 0, 0xc3};  // mov rax, [rip+1]: behind the return
  memcpy(reader, load, sizeof load);
  end = reader + sizeof load;
  memcpy(end, pattern, 60);
  CHECK(!mprotect(page, kPage, PROT_READ | PROT_EXEC));
  for (int pass = 0; pass < 3; pass++) {
    run(code, 9);
    uint64_t (*read)(void) = (uint64_t(*)(void))(uintptr_t)reader;
    uint64_t expected;
    memcpy(&expected, pattern, 8);
    CHECK(read() == expected);
    CHECK(!memcmp(page, pattern, 60));
    CHECK(!memcmp(end, pattern, 60));
  }
}

static void readback(void) {
  unsigned char *code = map(kPage, PROT_READ | PROT_WRITE | PROT_EXEC), *copy = map(kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
  unsigned char original[256];
  long size = emit(code, 20) - code;
  memcpy(original, code, size);
  run(code, 20);
  CHECK(!memcmp(original, code, size));
  memcpy(copy, code, size);
  run(copy, 20);
}

static long resident_kb(void) {
  long pages = 0, unused;
  FILE *statm = fopen("/proc/self/statm", "r");
  if (fscanf(statm, "%ld %ld", &unused, &pages) != 2) abort();
  fclose(statm);
  return pages * 4;
}

static void cycles(int n) {
  long maps = 0, resident = 0;
  for (int i = 0; i < n; i++) {
    if (i == 100) maps = count_maps(), resident = resident_kb();
    unsigned char *code = map(kPage, PROT_READ | PROT_WRITE);
    emit(code, 7);
    CHECK(!mprotect(code, kPage, PROT_READ | PROT_EXEC));
    run(code, 7);
    CHECK(!munmap(code, kPage));
  }
  CHECK(count_maps() - maps < 50);
  CHECK(resident_kb() - resident < 64 * 1024);
}

static void dual(int n) {
  int file = memfd_create("code", 0);
  if (ftruncate(file, kPage)) abort();
  unsigned char *write = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  unsigned char *execute = mmap(NULL, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
  for (int i = 0; i < n; i++) {
    emit(write, draw(i));
    run(execute, draw(i));
  }
}

static void moved(void) {
  unsigned char *code = map(kPage, PROT_READ | PROT_WRITE | PROT_EXEC), *to = map(3 * kPage, PROT_NONE);
  emit(code, 30);
  run(code, 30);
  code = mremap(code, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to + kPage);
  CHECK(code == to + kPage);
  run(code, 30);
  emit(code, 31);
  run(code, 31);
}

static void file(void) {
  int file = memfd_create("code", 0);
  unsigned char text[kPage];
  emit(text, 40);
  if (write(file, text, kPage) != kPage) abort();
  unsigned char *code = mmap(NULL, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
  run(code, 40);
  run(code + 10 * PROBE_BYTES, 30);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  const char *scenario = argv[1];
  int n = argc > 2 ? atoi(argv[2]) : 0;
  tally_new();
  if (!strcmp(scenario, "rwx")) rwx(n);
  if (!strcmp(scenario, "wx")) wx(n);
  if (!strcmp(scenario, "patch")) patch(n);
  if (!strcmp(scenario, "behind")) behind(n);
  if (!strcmp(scenario, "pages")) pages(n);
  if (!strcmp(scenario, "pointers")) pointers();
  if (!strcmp(scenario, "table")) table();
  if (!strcmp(scenario, "readback")) readback();
  if (!strcmp(scenario, "cycles")) cycles(n);
  if (!strcmp(scenario, "dual")) dual(n);
  if (!strcmp(scenario, "moved")) moved();
  if (!strcmp(scenario, "file")) file();
  return report();
}
