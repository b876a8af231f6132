"""The assembler against iced-x86, an independent decoder: every operand it can be given comes back."""

from __future__ import annotations

import ctypes as ct
import zlib

import lab
import numpy as np
import pytest
from guest import GPRS, R, vec
from iced_x86 import Decoder, Instruction, OpKind

VECTOR_OPS = {  # name: (mnemonics VEX and EVEX, evex only, vvvv operand, immediate)
    "vpand": ("vpand", "vpandd", False, True, -1),
    "vpor": ("vpor", "vpord", False, True, -1),
    "vpaddd": ("vpaddd", "vpaddd", False, True, -1),
    "vpandn": ("vpandn", "vpandnd", False, True, -1),
    "vpxor": ("vpxor", "vpxord", False, True, -1),
    "vpsubd": ("vpsubd", "vpsubd", False, True, -1),
    "vpminud": ("vpminud", "vpminud", False, True, -1),
    "vpmaxud": ("vpmaxud", "vpmaxud", False, True, -1),
    "vpmulld": ("vpmulld", "vpmulld", False, True, -1),
    "vpsrlvd": ("vpsrlvd", "vpsrlvd", False, True, -1),
    "vaddps": ("vaddps", "vaddps", False, True, -1),
    "vmulps": ("vmulps", "vmulps", False, True, -1),
    "vsubps": ("vsubps", "vsubps", False, True, -1),
    "vpternlogd": ("", "vpternlogd", True, True, 0xEC),
    "vfixupimmps": ("", "vfixupimmps", True, True, 0),
    "vrangeps": ("", "vrangeps", True, True, 3),
    "vmovups_load": ("vmovups", "vmovups", False, False, -1),
    "fma:b8": ("vfmadd231ps", "vfmadd231ps", False, True, -1),
    "fma:9e": ("vfnmsub132ps", "vfnmsub132ps", False, True, -1),
    "fma:ad:s": ("vfnmadd213ss", "vfnmadd213ss", False, True, -1),
}
NONE, RIP = 255, 254


AT = 0x400000


def assemble(
    name: str, bits: int, reg: int, vvvv: int, rm: lab.Operand, mask: int = 0, zeroing: bool = False, imm: int = -1, rounding: int = -1
) -> tuple[Instruction, bytes]:
    """What iced reads from what the assembler wrote."""
    out = ct.create_string_buffer(64)
    n = lab.lib.fase_lab_assemble(name.encode(), bits, reg, vvvv, rm, mask, zeroing, imm, rounding, AT, out)
    code = out.raw[:n]
    decoder = Decoder(64, code, ip=AT)
    insn = decoder.decode()
    assert insn.len == n, (name, code.hex())
    return insn, code


def mnemonic(insn: Instruction) -> str:
    return str(insn).split()[0]


def register(n: int) -> lab.Operand:
    return lab.Operand(0, 0, n, NONE, NONE, 1, 0, 0)


def random_memory(rng: np.random.Generator) -> lab.Operand:
    if rng.random() < 0.15:
        return lab.Operand(1, 0, 0, RIP, NONE, 1, 0, 0x400000 + int(rng.integers(-(2**30), 2**30)))
    base = int(rng.integers(16)) if rng.random() < 0.85 else NONE
    index = int(rng.choice([i for i in range(16) if i != 4])) if rng.random() < 0.5 else NONE
    disp = int(rng.choice([0, 4, 64, -64, 127, -128, 8128, -8192, 4096 * 64, 2**31 - 1, -(2**31)]))
    return lab.Operand(1, 0, 0, base, index, int(rng.choice([1, 2, 4, 8])) if index != NONE else 1, int(rng.integers(3)), disp)


def check_memory(insn: Instruction, rm: lab.Operand) -> None:
    if rm.base == RIP:
        assert insn.is_ip_rel_memory_operand
        assert insn.ip_rel_memory_address == rm.disp & (2**64 - 1)
        return
    assert insn.memory_base == (GPRS[rm.base] if rm.base != NONE else R.NONE)
    assert insn.memory_index == (GPRS[rm.index] if rm.index != NONE else R.NONE)
    if rm.index != NONE:
        assert insn.memory_index_scale == rm.scale
    assert insn.memory_displacement & (2**64 - 1) == rm.disp & (2**64 - 1)
    assert insn.segment_prefix == [R.NONE, R.FS, R.GS][rm.segment]


@pytest.mark.parametrize("name", VECTOR_OPS)
def test_vector_instructions(name: str) -> None:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    vex, evex, evex_only, three, imm = VECTOR_OPS[name]
    scalar = name.endswith(":s")
    for _ in range(1500):
        bits = 128 if scalar else int(rng.choice([128, 256, 512]))
        high = rng.random() < 0.5 or bits == 512
        reg, vvvv, last = (int(rng.integers(32 if high else 16)) for _ in range(3))
        memory = rng.random() < 0.5
        rm = random_memory(rng) if memory else register(last)
        mask = int(rng.integers(8)) if rng.random() < 0.3 else 0
        zeroing = bool(mask and rng.random() < 0.4)
        broadcast = memory and not scalar and name != "vmovups_load" and rng.random() < 0.4
        rm.broadcast = broadcast
        computes = name.startswith(("fma", "va", "vm", "vs")) and name != "vmovups_load"
        can_round = not memory and computes and bits in (512, 128 if scalar else 512)
        rounding = int(rng.integers(4)) if can_round and rng.random() < 0.3 else -1
        insn, code = assemble(name, bits, reg, vvvv if three else 0, rm, mask, zeroing, imm, rounding)
        is_evex = code[0] == 0x62 or (rm.memory and rm.segment and code[1] == 0x62)
        assert is_evex == (
            evex_only or bits == 512 or max(reg, vvvv if three else 0, 0 if memory else last) > 15 or mask > 0 or broadcast or rounding >= 0
        )
        assert mnemonic(insn) == (evex if is_evex else vex)
        assert insn.op0_register == vec(reg, bits)
        if three:
            assert insn.op1_register == vec(vvvv, bits)
        place = 2 if three else 1
        if memory:
            assert insn.op_kind(place) == OpKind.MEMORY
            assert insn.is_broadcast == broadcast
            check_memory(insn, rm)
        else:
            assert insn.op_register(place) == vec(last, bits)
        assert insn.op_mask == (R.K0 + mask if mask else R.NONE)
        assert insn.zeroing_masking == zeroing
        if imm >= 0:
            assert insn.immediate(3) == imm
        if rounding >= 0:
            assert insn.rounding_control == rounding + 1


def test_other_vector_instructions() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        a, b, c = (int(rng.integers(32)) for _ in range(3))
        insn, _ = assemble("vpsrld", 512, a, 0, register(b), imm=16)
        assert mnemonic(insn) == "vpsrld"
        assert insn.op0_register == vec(a, 512)
        assert insn.op1_register == vec(b, 512)
        assert insn.immediate(2) == 16
        insn, _ = assemble("vpsrld", 256, a % 16, 0, register(b % 16), imm=13)
        assert mnemonic(insn) == "vpsrld"
        assert insn.op0_register == vec(a % 16, 256)
        assert insn.op1_register == vec(b % 16, 256)
        insn, _ = assemble("vblendvps", 256, a % 16, b % 16, register(c % 16), imm=(a % 16) << 4)
        assert mnemonic(insn) == "vblendvps"
        assert insn.op3_register == vec(a % 16, 256)
        assert insn.op1_register == vec(b % 16, 256)
        insn, _ = assemble("vcmpps", 256, a % 16, b % 16, register(c % 16), imm=3)
        assert mnemonic(insn) == "vcmpunordps"
        assert [insn.op_register(i) for i in range(3)] == [vec(x % 16, 256) for x in (a, b, c)]
        insn, _ = assemble("vmovss", 128, a, b, register(c))
        assert mnemonic(insn) == "vmovss"
        assert [insn.op_register(i) for i in range(3)] == [vec(x, 128) for x in (a, b, c)]
        m = random_memory(rng)
        insn, _ = assemble("vbroadcastss", 512, a, 0, m)
        assert mnemonic(insn) == "vbroadcastss"
        assert insn.op0_register == vec(a, 512)
        check_memory(insn, m)
        for name in ("vldmxcsr", "vstmxcsr"):
            insn, _ = assemble(name, 128, 0, 0, m)
            assert mnemonic(insn) == name
            check_memory(insn, m)
        insn, _ = assemble("vmovups_store", 512, a, 0, m)
        assert mnemonic(insn) == "vmovups"
        assert insn.op1_register == vec(a, 512)
        check_memory(insn, m)


def test_gathers() -> None:
    """The index is a vector register; its upper bit is where vvvv is otherwise. VEX has its mask there."""
    rng = np.random.default_rng(3)
    for _ in range(500):
        dst, index, mask = map(int, (rng.permutation(16) + 16 * rng.integers(2, size=16))[:3])  # the same one twice is no instruction
        base, k = int(rng.integers(16)), int(rng.integers(1, 8))
        disp = int(rng.choice([0, 4, 508, 512, -512, -516, 262144]))
        for bits, wide in ((512, True), (256, True), (256, False), (128, False)):
            d, i = (dst, index) if wide else (dst % 16, index % 16)
            m = lab.Operand(1, 0, 0, base, i % 16, 4, 0, disp)
            insn, _ = assemble("vpgatherdd", bits, d, i & 16 if wide else mask % 16, m, k if wide else 0)
            assert mnemonic(insn) == "vpgatherdd"
            assert insn.op0_register == vec(d, bits)
            assert insn.memory_index == vec(i, bits)
            assert (insn.memory_base, insn.memory_index_scale, insn.memory_displacement & 0xFFFFFFFF) == (GPRS[base], 4, disp & 0xFFFFFFFF)
            assert insn.op_mask == R.K0 + k if wide else insn.op2_register == vec(mask % 16, bits)


def test_opmasks_and_constants() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        k, m = int(rng.integers(1, 8)), random_memory(rng)
        for name, place in (("kmovq_load", 0), ("kmovq_store", 1)):
            insn, _ = assemble(name, 64, k, 0, m)
            assert mnemonic(insn) == "kmovq"
            assert insn.op_register(place) == R.K0 + k
            check_memory(insn, m)
        insn, _ = assemble("kxnorw", 64, k, 0, m)
        assert str(insn) == f"kxnorw k{k},k{k},k{k}"
        other = int(rng.integers(1, 8))
        insn, _ = assemble("kortestw", 64, k, other, m)
        assert str(insn) == f"kortestw k{k},k{other}"
        a, b = int(rng.integers(32)), int(rng.integers(32))
        insn, _ = assemble("vpcmpd", 512, k, a, register(b), imm=2)
        assert mnemonic(insn) == "vpcmpled"
        assert [insn.op_register(i) for i in range(3)] == [R.K0 + k, vec(a, 512), vec(b, 512)]
        insn, _ = assemble("vpcmpud", 512, k, a, register(b), other, imm=6)
        assert str(insn) == f"vpcmpnleud k{k}{{k{other}}},zmm{a},zmm{b}"
        insn, _ = assemble("vptestmd", 512, k, a, register(b), other)
        assert str(insn) == f"vptestmd k{k}{{k{other}}},zmm{a},zmm{b}"
        insn, _ = assemble("test_byte", 8, 0, 0x60, m)
        assert (mnemonic(insn), insn.immediate8) == ("test", 0x60)
        check_memory(insn, m)
        insn, _ = assemble("vcmpps", 512, k, a, register(b), imm=3, rounding=2)
        assert str(insn) == f"vcmpunordps k{k},zmm{a},zmm{b}{{sae}}"
        bits = int(rng.choice([128, 256, 512]))
        insn, _ = assemble("vfpclassps", bits, k, 0, register(b), imm=0x81)
        assert mnemonic(insn) == "vfpclassps"
        assert [insn.op_register(i) for i in range(2)] == [R.K0 + k, vec(b, bits)]
        assert insn.immediate(2) == 0x81
        insn, _ = assemble("vmovss_store", 128, a, 0, m)
        assert mnemonic(insn) == "vmovss"
        assert insn.op1_register == vec(a, 128)
        check_memory(insn, m)
        gpr, value = int(rng.integers(16)), int(rng.integers(1 << 62))
        insn, _ = assemble("set", 64, gpr, 0, lab.Operand(1, 0, 0, NONE, NONE, 1, 0, value))
        assert (insn.op0_register, insn.immediate64) == (GPRS[gpr], value)


@pytest.mark.parametrize("name", ["mov_load", "mov_store", "lea", "inc"])
def test_integer_instructions(name: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(800):
        reg, m = int(rng.integers(16)), random_memory(rng)
        insn, _ = assemble(name, 64, reg, 0, m)
        assert mnemonic(insn) == name.split("_")[0]
        if name != "inc":
            assert insn.op_register(1 if name == "mov_store" else 0) == GPRS[reg]
        check_memory(insn, m)
