#include "runtime/cpu.h"

#include <cpuid.h>

namespace fase::runtime {
namespace {

std::uint64_t xcr0() {
  std::uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

std::uint32_t component_offset(unsigned component) {
  unsigned size = 0, offset = 0, c = 0, d = 0;
  __cpuid_count(0xd, component, size, offset, c, d);
  return size != 0 ? offset : 0;
}

/// AMD says how wide its units are (Zen 4: 256 bits, most of Zen 5: 512); Intel's have 512 bits where they know AVX-512.
bool has_wide_units() {
  constexpr unsigned kPerformance = 0x8000001a, kFp512 = 1u << 3;
  unsigned a = 0, b = 0, c = 0, d = 0;
  __get_cpuid(0, &a, &b, &c, &d);
  if (b != signature_AMD_ebx) return true;
  return __get_cpuid(kPerformance, &a, &b, &c, &d) != 0 && (a & kFp512) != 0;
}

}  // namespace

Cpu detect_cpu() {
  Cpu cpu;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return cpu;
  bool osxsave = (c & bit_OSXSAVE) != 0, fma = (c & bit_FMA) != 0, avx = (c & bit_AVX) != 0;
  if (!osxsave || !fma || !avx || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return cpu;
  std::uint64_t enabled = xcr0();
  cpu.avx2_fma = (b & bit_AVX2) != 0 && (enabled & 6) == 6;
  constexpr unsigned kNeeded = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  cpu.avx512 = cpu.avx2_fma && (b & kNeeded) == kNeeded && (enabled & 0xe6) == 0xe6;
  cpu.wide_units = cpu.avx512 && has_wide_units();
  return cpu;
}

const XsaveLayout& xsave_layout() {
  static const XsaveLayout layout = [] { return XsaveLayout{component_offset(2), component_offset(5), component_offset(6), component_offset(7)}; }();
  return layout;
}

}  // namespace fase::runtime
