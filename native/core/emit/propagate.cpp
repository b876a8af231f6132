#include "core/emit/propagate.h"

namespace fase::core {
namespace {

bool is_vector(const Operand& o) { return o.kind == OperandKind::vector; }

/// Every lane of the result is a lane of some register operand.
Grid joined(const Insn& k, const Grid (&grid)[32]) {
  Format f = kZeroValue;
  for (int o = 1; o < k.operand_count; ++o) {
    if (k.operands[o].kind == OperandKind::immediate) continue;
    f = is_vector(k.operands[o]) ? join(f, grid[k.operands[o].index].all()) : kAnyValue;
  }
  return Grid::whole(f);
}

bool same_sources(const Insn& k) {
  return k.operand_count >= 3 && is_vector(k.operands[1]) && is_vector(k.operands[2]) && k.operands[1].index == k.operands[2].index;
}

}  // namespace

Grid grid_after(const Insn& k, const Grid (&grid)[32]) {
  if (k.mask != 0 || k.encoding == Encoding::legacy || k.encoding == Encoding::xop) return Grid{};
  switch (k.mnemonic) {
    case ZYDIS_MNEMONIC_VXORPS:
    case ZYDIS_MNEMONIC_VXORPD:
    case ZYDIS_MNEMONIC_VPXOR:
    case ZYDIS_MNEMONIC_VPXORD:
    case ZYDIS_MNEMONIC_VPXORQ: return same_sources(k) ? Grid::whole(kZeroValue) : Grid{};
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVUPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVUPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVDQU:
    case ZYDIS_MNEMONIC_VMOVDQA32:
    case ZYDIS_MNEMONIC_VMOVDQA64:
    case ZYDIS_MNEMONIC_VMOVDQU32:
    case ZYDIS_MNEMONIC_VMOVDQU64: return is_vector(k.operands[1]) ? grid[k.operands[1].index] : Grid{};
    case ZYDIS_MNEMONIC_VBROADCASTSS: return is_vector(k.operands[1]) ? Grid::whole(grid[k.operands[1].index].low) : Grid{};
    case ZYDIS_MNEMONIC_VMOVSS:
    case ZYDIS_MNEMONIC_VMOVD:
      if (k.operand_count == 2) return {kAnyValue, kZeroValue};
      return {grid[k.operands[2].index].low, grid[k.operands[1].index].rest};
    case ZYDIS_MNEMONIC_VSHUFPS:
    case ZYDIS_MNEMONIC_VPERMILPS:
    case ZYDIS_MNEMONIC_VUNPCKLPS:
    case ZYDIS_MNEMONIC_VUNPCKHPS:
    case ZYDIS_MNEMONIC_VUNPCKLPD:
    case ZYDIS_MNEMONIC_VUNPCKHPD:
    case ZYDIS_MNEMONIC_VPERM2F128:
    case ZYDIS_MNEMONIC_VINSERTF128:
    case ZYDIS_MNEMONIC_VEXTRACTF128:
    case ZYDIS_MNEMONIC_VINSERTF32X8:
    case ZYDIS_MNEMONIC_VEXTRACTF32X8:
    case ZYDIS_MNEMONIC_VEXTRACTF32X4:
    case ZYDIS_MNEMONIC_VEXTRACTF64X4:
    case ZYDIS_MNEMONIC_VSHUFF32X4:
    case ZYDIS_MNEMONIC_VSHUFF64X2:
    case ZYDIS_MNEMONIC_VBLENDPS:
    case ZYDIS_MNEMONIC_VMOVHLPS:
    case ZYDIS_MNEMONIC_VMOVLHPS:
    case ZYDIS_MNEMONIC_VMOVSHDUP:
    case ZYDIS_MNEMONIC_VMOVSLDUP:
    case ZYDIS_MNEMONIC_VMOVDDUP: return joined(k, grid);
    default: return Grid{};
  }
}

}  // namespace fase::core
