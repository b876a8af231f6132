// C++ exceptions through functions full of FMAs: every frame has 4 probes before its call, and a destructor with 3 that the unwinder runs.
//   exceptions DEPTH TIMES     throws TIMES exceptions through DEPTH frames; every fourth frame catches and rethrows with 2 probes in its handler
// One throw: DEPTH * (4 + 3) + (DEPTH / 4) * 2 + 5 in the thrower + 6 in the last handler. The probes are inlined, so that frames and landing pads hold FMAs.
// fma-sites: 4 + 3 + 2 + 5 + 6
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace {

long executed = 0;
double units = 0;

// Straight-line probes in the middle of compiled code.
template <int kCount>
[[gnu::always_inline]] inline void probes() {
  volatile float a = 1.0f + 0x1p-9f, b = 1;
  float acc = 0;
  asm volatile(".rept %c3\nvfmadd231ss %2, %1, %0\n.endr" : "+x"(acc) : "x"(a), "x"(b), "i"(kCount));
  executed += kCount;
  units += acc * 512;
}

struct Guard {
  int depth;
  [[gnu::noinline]] ~Guard() { probes<3>(); }
};

[[gnu::noinline]] void thrower(int depth) {
  probes<5>();
  throw std::runtime_error(std::to_string(depth));
}

[[gnu::noinline]] void frame(int depth);
[[gnu::noinline]] void next(int depth) {
  if (depth == 0) thrower(depth);
  frame(depth);
}

[[gnu::noinline]] void frame(int depth) {
  Guard guard{depth};
  probes<4>();
  try {
    next(depth - 1);
  } catch (std::runtime_error& error) {
    if (depth % 4 == 0) probes<2>();
    throw;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int depth = std::atoi(argv[1]), times = std::atoi(argv[2]);
  int caught = 0;
  for (int i = 0; i < times; ++i) {
    try {
      frame(depth);
    } catch (const std::exception& error) {
      probes<6>();
      caught += error.what() == std::string("0");
    }
  }
  const long expected = times * (depth * 7L + depth / 4 * 2 + 11);
  std::printf("caught %d\nfmas %ld\nfp64 0\nprobes %ld\nunits %.0f\n", caught, expected, executed, units);
  return caught != times || executed != expected;
}
