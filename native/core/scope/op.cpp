#include "core/scope/op.h"

#include <algorithm>
#include <bit>

namespace fase::core {
namespace {

#define M(name) ZYDIS_MNEMONIC_##name

/// What an instruction that writes a vector register does with the values it reads.
OpKind vector_kind(std::uint16_t mnemonic) {
  switch (mnemonic) {
    case M(MULPS):
    case M(MULSS):
    case M(MULPD):
    case M(MULSD):
    case M(VMULPS):
    case M(VMULSS):
    case M(VMULPD):
    case M(VMULSD): return OpKind::multiply;
    case M(ADDPS):
    case M(ADDSS):
    case M(ADDPD):
    case M(ADDSD):
    case M(VADDPS):
    case M(VADDSS):
    case M(VADDPD):
    case M(VADDSD):
    case M(SUBPS):
    case M(SUBSS):
    case M(SUBPD):
    case M(SUBSD):
    case M(VSUBPS):
    case M(VSUBSS):
    case M(VSUBPD):
    case M(VSUBSD): return OpKind::add;
    case M(ROUNDPS):
    case M(ROUNDSS):
    case M(ROUNDPD):
    case M(ROUNDSD):
    case M(VROUNDPS):
    case M(VROUNDSS):
    case M(VROUNDPD):
    case M(VROUNDSD):
    case M(VRNDSCALEPS):
    case M(VRNDSCALESS):
    case M(VRNDSCALEPD):
    case M(VRNDSCALESD):
    case M(VREDUCEPS):
    case M(VREDUCESS):
    case M(VGETEXPPS):
    case M(VGETEXPSS):
    case M(VGETEXPPD):
    case M(VGETEXPSD):
    case M(CVTPS2DQ):
    case M(CVTTPS2DQ):
    case M(VCVTPS2DQ):
    case M(VCVTTPS2DQ):
    case M(CVTDQ2PS):
    case M(VCVTDQ2PS):
    case M(VCVTUDQ2PS):
    case M(VCVTPS2UDQ):
    case M(VCVTTPS2UDQ):
    case M(CVTDQ2PD):
    case M(VCVTDQ2PD):
    case M(VCVTPD2DQ):
    case M(VCVTTPD2DQ):
    case M(VCVTQQ2PS):
    case M(VCVTQQ2PD):
    case M(VCVTPD2QQ):
    case M(VCVTTPD2QQ):
    case M(CVTSI2SS):
    case M(CVTSI2SD):
    case M(VCVTSI2SS):
    case M(VCVTSI2SD): return OpKind::round;
    case M(PADDD):
    case M(PSUBD):
    case M(VPADDD):
    case M(VPSUBD):
    case M(PADDQ):
    case M(PSUBQ):
    case M(VPADDQ):
    case M(VPSUBQ):
    case M(PSLLD):
    case M(PSRLD):
    case M(PSRAD):
    case M(PSLLQ):
    case M(PSRLQ):
    case M(VPSLLD):
    case M(VPSRLD):
    case M(VPSRAD):
    case M(VPSLLQ):
    case M(VPSRLQ):
    case M(VPSRAQ):
    case M(VPSLLVD):
    case M(VPSRLVD):
    case M(VPSRAVD):
    case M(VPMULLD): return OpKind::bits;
    case M(DIVPS):
    case M(DIVSS):
    case M(DIVPD):
    case M(DIVSD):
    case M(VDIVPS):
    case M(VDIVSS):
    case M(VDIVPD):
    case M(VDIVSD):
    case M(SQRTPS):
    case M(SQRTSS):
    case M(VSQRTPS):
    case M(VSQRTSS):
    case M(SQRTPD):
    case M(SQRTSD):
    case M(VSQRTPD):
    case M(VSQRTSD):
    case M(RCPPS):
    case M(RCPSS):
    case M(VRCPPS):
    case M(VRCPSS):
    case M(VRCP14PS):
    case M(VRCP14SS):
    case M(VRCP14PD):
    case M(VRCP14SD):
    case M(RSQRTPS):
    case M(RSQRTSS):
    case M(VRSQRTPS):
    case M(VRSQRTSS):
    case M(VRSQRT14PS):
    case M(VRSQRT14SS):
    case M(VRSQRT14PD):
    case M(VSCALEFPS):
    case M(VSCALEFSS):
    case M(VSCALEFPD):
    case M(VSCALEFSD):
    case M(VEXP2PS):
    case M(VRCP28PS):
    case M(VRSQRT28PS): return OpKind::stop;
    case M(MOVAPS):
    case M(MOVAPD):
    case M(MOVUPS):
    case M(MOVUPD):
    case M(MOVDQA):
    case M(MOVDQU):
    case M(MOVSS):
    case M(MOVSD):
    case M(MOVQ):
    case M(VMOVAPS):
    case M(VMOVAPD):
    case M(VMOVUPS):
    case M(VMOVUPD):
    case M(VMOVDQA):
    case M(VMOVDQU):
    case M(VMOVSS):
    case M(VMOVSD):
    case M(VMOVDQA32):
    case M(VMOVDQA64):
    case M(VMOVDQU8):
    case M(VMOVDQU16):
    case M(VMOVDQU32):
    case M(VMOVDQU64):
    case M(MOVD):
    case M(VMOVD):
    case M(VMOVQ):
    case M(VBROADCASTSS):
    case M(VBROADCASTSD):
    case M(VBROADCASTF128):
    case M(VBROADCASTI128):
    case M(VPBROADCASTD):
    case M(VPBROADCASTQ):
    case M(VBROADCASTF32X2):
    case M(VBROADCASTF32X4):
    case M(VBROADCASTF32X8):
    case M(VBROADCASTF64X2):
    case M(VBROADCASTF64X4):
    case M(VBROADCASTI32X2):
    case M(VBROADCASTI32X4):
    case M(VBROADCASTI32X8):
    case M(VBROADCASTI64X2):
    case M(VBROADCASTI64X4):
    case M(SHUFPS):
    case M(VSHUFPS):
    case M(VSHUFPD):
    case M(PSHUFD):
    case M(VPSHUFD):
    case M(VPERMPS):
    case M(VPERMD):
    case M(VPERMPD):
    case M(VPERMQ):
    case M(VPERMILPS):
    case M(VPERMILPD):
    case M(VPERM2F128):
    case M(VPERM2I128):
    case M(VPERMT2PS):
    case M(VPERMI2PS):
    case M(VPERMT2D):
    case M(VPERMI2D):
    case M(VINSERTF128):
    case M(VINSERTI128):
    case M(VINSERTF32X4):
    case M(VINSERTF32X8):
    case M(VINSERTF64X4):
    case M(VINSERTI64X4):
    case M(VINSERTI32X4):
    case M(VEXTRACTF128):
    case M(VEXTRACTI128):
    case M(VEXTRACTF32X4):
    case M(VEXTRACTF32X8):
    case M(VEXTRACTF64X4):
    case M(VEXTRACTI64X4):
    case M(INSERTPS):
    case M(VINSERTPS):
    case M(PINSRD):
    case M(VPINSRD):
    case M(VPINSRQ):
    case M(UNPCKLPS):
    case M(UNPCKHPS):
    case M(VUNPCKLPS):
    case M(VUNPCKHPS):
    case M(VUNPCKLPD):
    case M(VUNPCKHPD):
    case M(VPUNPCKLDQ):
    case M(VPUNPCKHDQ):
    case M(MOVSLDUP):
    case M(MOVSHDUP):
    case M(VMOVSLDUP):
    case M(VMOVSHDUP):
    case M(MOVDDUP):
    case M(VMOVDDUP):
    case M(MOVHLPS):
    case M(MOVLHPS):
    case M(VMOVHLPS):
    case M(VMOVLHPS):
    case M(VMOVLPS):
    case M(VMOVHPS):
    case M(ANDPS):
    case M(ANDNPS):
    case M(ORPS):
    case M(XORPS):
    case M(VANDPS):
    case M(VANDNPS):
    case M(VORPS):
    case M(VXORPS):
    case M(VANDPD):
    case M(VANDNPD):
    case M(VORPD):
    case M(VXORPD):
    case M(XORPD):
    case M(ANDPD):
    case M(ORPD):
    case M(ANDNPD):
    case M(PAND):
    case M(PANDN):
    case M(POR):
    case M(PXOR):
    case M(VPAND):
    case M(VPANDN):
    case M(VPOR):
    case M(VPXOR):
    case M(VPANDD):
    case M(VPANDND):
    case M(VPORD):
    case M(VPXORD):
    case M(VPANDQ):
    case M(VPANDNQ):
    case M(VPORQ):
    case M(VPXORQ):
    case M(VPTERNLOGD):
    case M(VPTERNLOGQ):
    case M(BLENDVPS):
    case M(VBLENDVPS):
    case M(VBLENDVPD):
    case M(BLENDPS):
    case M(VBLENDPS):
    case M(VBLENDPD):
    case M(VPBLENDVB):
    case M(VPBLENDD):
    case M(VBLENDMPS):
    case M(VBLENDMPD):
    case M(VPBLENDMD):
    case M(MINPS):
    case M(MAXPS):
    case M(MINSS):
    case M(MAXSS):
    case M(VMINPS):
    case M(VMAXPS):
    case M(VMINSS):
    case M(VMAXSS):
    case M(VMINPD):
    case M(VMAXPD):
    case M(VRANGEPS):
    case M(VRANGESS):
    case M(VFIXUPIMMPS):
    case M(VFIXUPIMMSS):
    case M(VGETMANTPS):
    case M(VGETMANTSS):
    case M(CVTSS2SD):
    case M(CVTSD2SS):
    case M(CVTPS2PD):
    case M(CVTPD2PS):
    case M(VCVTSS2SD):
    case M(VCVTSD2SS):
    case M(VCVTPS2PD):
    case M(VCVTPD2PS): return OpKind::select;
    default: return OpKind::other;
  }
}

/// Scalar operations whose first source only fills the upper lanes.
bool only_last_source(std::uint16_t mnemonic) {
  switch (mnemonic) {
    case M(VSQRTSS):
    case M(VSQRTSD):
    case M(VROUNDSS):
    case M(VROUNDSD):
    case M(VRNDSCALESS):
    case M(VRNDSCALESD):
    case M(VCVTSI2SS):
    case M(VCVTSI2SD):
    case M(VCVTSS2SD):
    case M(VCVTSD2SS):
    case M(VRCPSS):
    case M(VRSQRTSS):
    case M(VRCP14SS):
    case M(VRSQRT14SS):
    case M(VMOVSS):
    case M(VMOVSD):
    case M(VGETEXPSS):
    case M(VGETMANTSS):
    case M(VREDUCESS):
    case M(VCVTUSI2SS):
    case M(VCVTUSI2SD): return true;
    default: return false;
  }
}

/// SSE instructions that do not compute with their destination.
bool legacy_copy(std::uint16_t mnemonic) {
  switch (mnemonic) {
    case M(MOVAPS):
    case M(MOVAPD):
    case M(MOVUPS):
    case M(MOVUPD):
    case M(MOVDQA):
    case M(MOVDQU):
    case M(MOVSS):
    case M(MOVSD):
    case M(MOVD):
    case M(MOVQ):
    case M(PSHUFD):
    case M(MOVSLDUP):
    case M(MOVSHDUP):
    case M(MOVDDUP):
    case M(SQRTPS):
    case M(SQRTSS):
    case M(RCPPS):
    case M(RCPSS):
    case M(RSQRTPS):
    case M(RSQRTSS):
    case M(ROUNDPS):
    case M(ROUNDSS):
    case M(CVTPS2DQ):
    case M(CVTTPS2DQ):
    case M(CVTDQ2PS):
    case M(CVTDQ2PD):
    case M(CVTSI2SS):
    case M(CVTSI2SD):
    case M(CVTSS2SD):
    case M(CVTSD2SS):
    case M(CVTPS2PD):
    case M(CVTPD2PS): return true;
    default: return false;
  }
}

/// Operands (bits) that are tables where the others say which element is taken; 0: not such an instruction.
unsigned tables_of(const Insn& i) {
  switch (i.mnemonic) {
    case M(VPERMPS):
    case M(VPERMD): return 4;
    case M(VPERMILPS): return i.operands[2].kind == OperandKind::immediate ? 0 : 2;
    case M(VPERMT2PS):
    case M(VPERMT2D): return 1 | 4;
    case M(VPERMI2PS):
    case M(VPERMI2D): return 2 | 4;
    case M(VGATHERDPS):
    case M(VGATHERQPS):
    case M(VPGATHERDD):
    case M(VPGATHERQD): return 2;
    default: return 0;
  }
}

/// VEX and EVEX instructions, FMAs aside, that compute with their destination.
bool accumulates(std::uint16_t mnemonic) {
  switch (mnemonic) {
    case M(VPTERNLOGD):
    case M(VPTERNLOGQ):
    case M(VFIXUPIMMPS):
    case M(VFIXUPIMMSS):
    case M(VDPBF16PS):
    case M(VPDPBUSD):
    case M(VPDPBUSDS):
    case M(VPDPWSSD): return true;
    default: return false;
  }
}

bool exclusive_or(std::uint16_t m) {
  return m == M(VXORPS) || m == M(VXORPD) || m == M(VPXOR) || m == M(VPXORD) || m == M(VPXORQ) || m == M(XORPS) || m == M(XORPD) || m == M(PXOR);
}

std::uint8_t source(const Operand& o) {
  if (o.kind == OperandKind::vector) return o.index;
  return o.kind == OperandKind::memory ? kMemory : kNone;
}

void set_memory(const Insn& i, Op& op) {
  op.base = i.memory.segment == Segment64::none && !i.memory.address32 ? i.memory.base : kNoRegister;
  op.index = i.memory.segment == Segment64::none ? i.memory.index : 0;  // fs: and gs: lead somewhere unknown
  op.value = i.memory.disp;
  op.bytes = static_cast<std::uint8_t>(std::min<std::uint16_t>(i.memory.bytes, 64));
}

Op fma_op(const Insn& i, Op op) {
  // Operands 1, 2, 3; form 132: 1*3+2, 213: 2*1+3, 231: 2*3+1.
  constexpr std::uint8_t order[3][3] = {{0, 2, 1}, {1, 0, 2}, {1, 2, 0}};
  op.kind = OpKind::fma;
  op.fp32 = !i.fma.fp64;
  op.dst = i.operands[0].index;
  op.keeps = i.mask != 0 && !i.zeroing;
  for (int k = 0; k < 3; ++k) op.in[k] = source(i.operands[order[i.fma.form][k]]);
  return op;
}

Op lookup_op(const Insn& i, unsigned tables, Op op) {
  op.kind = OpKind::select;
  op.dst = i.operands[0].index;
  op.keeps = i.mask != 0 && !i.zeroing && !i.memory.vector_index;
  int n = 0;
  for (unsigned k = 0; k < 3; ++k)
    if (tables >> k & 1) op.in[n++] = source(i.operands[k]);
  if (i.memory.vector_index) op.index = kNoRegister;  // the table's address is its own, wherever the lanes go
  return op;
}

Op vector_op(const Insn& i, Op op) {
  if (const unsigned tables = tables_of(i)) return lookup_op(i, tables, op);
  op.kind = vector_kind(i.mnemonic);
  op.dst = static_cast<std::uint8_t>(std::countr_zero(i.writes.vectors));
  const bool explicit_dst = i.operands[0].kind == OperandKind::vector && (i.writes.vectors >> i.operands[0].index & 1);
  if (!explicit_dst) op.kind = OpKind::other;
  if (explicit_dst) op.dst = i.operands[0].index;
  op.keeps = i.mask != 0 && !i.zeroing;
  int n = 0;
  const bool legacy = i.encoding == Encoding::legacy;
  const bool also_source = legacy ? !legacy_copy(i.mnemonic) : accumulates(i.mnemonic);
  if (also_source && explicit_dst) op.in[n++] = op.dst;
  int first = 1;
  if (only_last_source(i.mnemonic) && i.operand_count >= 3) first = i.operands[2].kind == OperandKind::immediate ? 1 : 2;
  for (int k = first; k < i.operand_count && n < 3; ++k) {
    if (i.operands[k].kind == OperandKind::gpr && i.memory.present == false && op.kind != OpKind::other) {
      op.kind = op.kind == OpKind::round ? OpKind::round : OpKind::from_gpr;
      op.in[0] = i.operands[k].index;
      if (op.kind == OpKind::from_gpr) return op;
      op.in[0] = kNone;
      continue;
    }
    const std::uint8_t s = source(i.operands[k]);
    if (s != kNone) op.in[n++] = s;
  }
  op.zeroes = exclusive_or(i.mnemonic) && op.in[0] == op.in[1] && op.in[0] < 32;
  return op;
}

Op gpr_op(const Insn& i, Op op) {
  const Operand& d = i.operands[0];
  const Operand& s = i.operands[1];
  const bool wide = d.kind == OperandKind::gpr && d.bits == 64, wide_or_half = d.kind == OperandKind::gpr && d.bits >= 32;
  op.dst = d.index;
  switch (i.mnemonic) {
    case M(MOV):
      if (wide_or_half && s.kind == OperandKind::immediate) {
        op.kind = OpKind::gpr_set;
        op.value = d.bits == 32 ? static_cast<std::int64_t>(static_cast<std::uint32_t>(i.immediate)) : i.immediate;
        return op;
      }
      if (wide && s.kind == OperandKind::gpr) {
        op.kind = OpKind::gpr_copy;
        op.in[0] = s.index;
        return op;
      }
      if (wide && s.kind == OperandKind::memory) {
        op.kind = OpKind::gpr_load;
        return op;
      }
      if (d.kind == OperandKind::memory && s.kind == OperandKind::gpr) {
        op.kind = OpKind::gpr_store;
        op.in[0] = d.bits == 64 ? s.index : kNone;
        return op;
      }
      break;
    case M(LEA):
      if (wide) {
        op.kind = OpKind::gpr_lea;
        return op;
      }
      break;
    case M(ADD):
    case M(SUB):
      if (wide && s.kind == OperandKind::immediate) {
        op.kind = OpKind::gpr_add;
        op.value = i.mnemonic == M(ADD) ? i.immediate : -i.immediate;
        return op;
      }
      break;
    case M(AND):
      if (wide && d.index == 4 && s.kind == OperandKind::immediate) {
        op.kind = OpKind::align_stack;
        return op;
      }
      break;
    case M(XOR):
      if (wide_or_half && s.kind == OperandKind::gpr && s.index == d.index) {
        op.kind = OpKind::gpr_set;
        op.value = 0;
        return op;
      }
      break;
    case M(PUSH):
      op.kind = OpKind::push;
      op.in[0] = d.kind == OperandKind::gpr ? d.index : kNone;
      return op;
    case M(POP):
      if (d.kind == OperandKind::gpr) {
        op.kind = OpKind::pop;
        return op;
      }
      break;
    case M(LEAVE): op.kind = OpKind::leave; return op;
    default: break;
  }
  op.dst = kNone;
  op.gprs = i.writes.gprs;
  if (op.gprs != 0) op.kind = OpKind::clobber;
  return op;
}

#undef M

}  // namespace

Op op_of(const Insn& i) {
  Op op;
  op.at = i.address;
  op.length = i.length;
  if (i.memory.present) set_memory(i, op);
  switch (i.flow) {
    case Flow::branch:
    case Flow::loop:
      op.kind = OpKind::branch;
      op.value = static_cast<std::int64_t>(i.target);
      return op;
    case Flow::jump:
      op.kind = OpKind::jump;
      op.value = static_cast<std::int64_t>(i.target);
      return op;
    case Flow::indirect_jump: op.kind = OpKind::indirect; return op;
    case Flow::call:
    case Flow::indirect_call: op.kind = OpKind::call; return op;
    case Flow::ret:
    case Flow::trap: op.kind = OpKind::end; return op;
    case Flow::plain:
    case Flow::system: break;
  }
  if (i.fma.present) return fma_op(i, op);
  const bool gather = i.memory.vector_index && i.memory.reads;
  if (i.writes.vectors != 0 && (gather || std::popcount(i.writes.vectors) == 1)) return vector_op(i, op);
  if (i.writes.vectors != 0) return op;  // vzeroupper, vzeroall: no value anyone uses afterwards
  const bool stores_vector = i.operands[0].kind == OperandKind::memory && i.operands[1].kind == OperandKind::vector && i.memory.writes;
  if (stores_vector) {
    op.kind = OpKind::store;
    op.in[0] = i.operands[1].index;
    return op;
  }
  return gpr_op(i, op);
}

}  // namespace fase::core
