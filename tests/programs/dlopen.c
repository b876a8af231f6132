// Shared libraries that come and go; see probe_library.c. One scenario a run:
//   once LIBRARY            load, call, unload: 4 + 8 probes in the constructor, twice 6 in the IFUNC's resolver, 8 in its target, 10 in a function,
//                           3 in the destructor: 45
//   cycles LIBRARY N        the same N times; neither mappings nor memory may grow
//   elsewhere LIBRARY       twice, the second time with the library's old place taken: it comes at another address
//   twins LIBRARY COPY      two copies of the library loaded at a time, unloaded in the other order
// fma-sites: 0
#include <dlfcn.h>
#include <link.h>

#include "probe.h"

static void *load(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "%s\n", dlerror());
    abort();
  }
  // The library ran these probes before dlopen returned; what they left behind tells whether they were emulated.
  tally_probes(4 + 8, *(float *)dlsym(library, "constructed"));
  probe((probe_fn *)(uintptr_t)dlsym(library, "called"), 10);
  probe((probe_fn *)(uintptr_t)dlsym(library, "resolved"), 8);  // dlsym runs the resolver
  CHECK(((int (*)(void))(uintptr_t)dlsym(library, "resolver_runs"))() == 2);
  tally_probes(2 * 6, ((float (*)(void))(uintptr_t)dlsym(library, "resolver_left"))());
  return library;
}

static float destructed;
static void unload(void *library) {
  *(float **)dlsym(library, "destructor_target") = &destructed;
  CHECK(!dlclose(library));
  tally_probes(3, destructed);
}

static void cycles(const char *path, int n) {
  long maps = 0;
  for (int i = 0; i < n; i++) {
    if (i == n / 10) maps = count_maps();
    unload(load(path));
  }
  CHECK(count_maps() - maps < 50);
}

static void elsewhere(const char *path) {
  void *library = load(path);
  char *base = (char *)((struct link_map *)library)->l_addr;
  unload(library);
  CHECK(mmap(base, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == base);
  library = load(path);
  CHECK((char *)((struct link_map *)library)->l_addr != base);
  unload(library);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  tally_new();
  if (!strcmp(argv[1], "once")) unload(load(argv[2]));
  if (!strcmp(argv[1], "cycles")) cycles(argv[2], atoi(argv[3]));
  if (!strcmp(argv[1], "elsewhere")) elsewhere(argv[2]);
  if (!strcmp(argv[1], "twins")) {
    void *one = load(argv[2]), *two = load(argv[3]);
    CHECK(one != two);
    unload(one);
    unload(two);
  }
  return report();
}
