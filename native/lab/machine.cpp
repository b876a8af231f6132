#include "lab/machine.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <asm/prctl.h>
#include <unistd.h>

#include <cstring>

namespace fase::lab {
namespace {

std::uint64_t fs_base() {
  std::uint64_t base = 0;
  syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
  return base;
}

/// Scratch must lie within 2 GiB of the fs base.
std::uint8_t* map_near(std::uint64_t near, std::size_t size) {
  for (std::int64_t step = 1; step < 1000; ++step) {
    for (const std::int64_t sign : {1, -1}) {
      const auto hint = (near & ~0xfffULL) + static_cast<std::uint64_t>(sign * step * (1 << 20));
      void* p = mmap(reinterpret_cast<void*>(hint), size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      if (p == reinterpret_cast<void*>(hint)) return static_cast<std::uint8_t*>(p);
      if (p != MAP_FAILED) munmap(p, size);
    }
  }
  return nullptr;
}

Ground make() {
  Ground g;
  constexpr int prot = PROT_READ | PROT_WRITE | PROT_EXEC;
  void* code = mmap(nullptr, kGuestBytes + kCodeBytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const std::uint64_t fs = fs_base();
  g.scratch = map_near(fs, 8192);
  if (code == MAP_FAILED || g.scratch == nullptr) return g;
  g.guest = static_cast<std::uint8_t*>(code);
  g.code = g.guest + kGuestBytes;
  g.counters = new std::uint64_t[kCounters]();
  const auto displacement = [&](std::size_t offset) { return static_cast<std::int32_t>(reinterpret_cast<std::uint64_t>(g.scratch) + offset - fs); };
  g.layout.vectors = displacement(0);
  g.layout.vector_slots = kVectorSlots;
  g.layout.words = displacement(4096);
  g.layout.word_slots = 8;
  g.layout.counters = displacement(4096 + 256);
  g.counter_pointer = reinterpret_cast<std::uint64_t**>(g.scratch + 4096 + 256);
  *g.counter_pointer = g.counters;
  g.stream = new core::RandomStream(core::random_stream(0, 0));
  g.layout.totals = displacement(4096 + 1024);
  g.layout.random = displacement(4096 + 512);
  *reinterpret_cast<core::RandomStream**>(g.scratch + 4096 + 512) = g.stream;
  __builtin_cpu_init();
  g.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  g.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw");
  g.ready = g.avx2;
  return g;
}

}  // namespace

Ground& ground() {
  static Ground instance = make();
  return instance;
}

}  // namespace fase::lab
