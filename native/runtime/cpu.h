// What this CPU and kernel offer.
#pragma once
#include <cstdint>

namespace fase::runtime {

struct Cpu {
  bool avx2_fma = false;
  bool avx512 = false;      // F, BW, DQ, VL, with the operating system saving the state
  bool wide_units = false;  // its 512-bit units are no pairs of 256-bit ones
};
Cpu detect_cpu();

/// Offsets of the state components inside an XSAVE area (standard format), from CPUID leaf 0xD; 0 when absent.
struct XsaveLayout {
  std::uint32_t ymm_high = 0;   // component 2: 16 bytes a register
  std::uint32_t opmask = 0;     // 5: 8 bytes
  std::uint32_t zmm_high = 0;   // 6: 32 bytes, zmm0-15
  std::uint32_t zmm_upper = 0;  // 7: 64 bytes, zmm16-31
};
const XsaveLayout& xsave_layout();

}  // namespace fase::runtime
