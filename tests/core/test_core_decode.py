"""FMA instructions, most of which are decoded without Zydis: against iced-x86, and against themselves behind a prefix, where Zydis decodes them."""

from __future__ import annotations

import random

import lab
from iced_x86 import Decoder, Instruction, MemorySizeInfo, Register, RegisterInfo

NO_MEANING = b"\x3e"  # a segment prefix
NONE, RIP = 255, 254
ROWS, COLUMNS = (0x90, 0xA0, 0xB0), range(6, 16)


def decode(code: bytes) -> lab.Insn | None:
    out = lab.Insn()
    return out if lab.lib.fase_lab_decode(code, len(code), 0x1000, out) else None


def random_fma(rng: random.Random) -> bytes:
    """VEX or EVEX with an opcode of an FMA; what else the bytes say may have no meaning."""
    opcode = bytes([rng.choice(ROWS) | rng.choice(COLUMNS)])
    first, second, third = rng.randbytes(3)
    if rng.random() < 0.5:
        return bytes([0xC4, first & 0xE0 | 2, second & ~3 | 1]) + opcode + rng.randbytes(11)
    if rng.random() < 0.5:
        third &= 0x78  # no mask
    return bytes([0x62, first & 0xF0 | 2, second & ~7 | 5, third]) + opcode + rng.randbytes(11)


def number(register: int) -> int:
    return RegisterInfo(register).number


def check(ours: lab.Insn, theirs: Instruction) -> None:
    name = str(theirs).upper()
    mnemonic = name.split()[0]
    assert (ours.length, ours.fma, ours.flow) == (theirs.len, 1, 0)
    assert (ours.fp64, ours.scalar) == (mnemonic.endswith("D"), mnemonic[-2] == "S")
    kinds = ("VFMADD", "VFMSUB", "VFNMADD", "VFNMSUB", "VFMADDSUB", "VFMSUBADD")
    assert mnemonic.startswith(kinds[ours.kind] + ("132", "213", "231")[ours.form])
    target, second = number(theirs.op_register(0)), number(theirs.op_register(1))
    read = {target, second}
    assert ours.writes_vectors == 1 << target
    assert (ours.mask, ours.zeroing) == (number(theirs.op_mask) if theirs.has_op_mask else 0, theirs.zeroing_masking)
    if theirs.op2_register != Register.NONE:
        read.add(number(theirs.op2_register))
        assert not ours.memory
    else:
        assert (ours.memory, ours.memory_reads, ours.memory_writes) == (1, 1, 0)
        assert ours.broadcast == theirs.is_broadcast
        size = MemorySizeInfo(theirs.memory_size)
        assert ours.memory_bytes == (size.element_size if theirs.is_broadcast else size.size)
        base, index = theirs.memory_base, theirs.memory_index
        assert ours.memory_base == (NONE if base == Register.NONE else RIP if base == Register.RIP else number(base))
        assert ours.memory_index == (NONE if index == Register.NONE else number(index))
        assert ours.memory_scale == (1 if index == Register.NONE else theirs.memory_index_scale)
        assert ours.memory_disp % 2**64 == theirs.memory_displacement
        assert ours.reads_gprs == sum({1 << number(r) for r in (base, index) if r not in (Register.NONE, Register.RIP)})
    assert ours.reads_vectors == sum(1 << r for r in read)
    assert ours.reads_opmasks == (1 << ours.mask if ours.mask else 0)


def test_fmas_against_iced_and_zydis() -> None:
    rng = random.Random(7)
    valid = 0
    for _ in range(30_000):
        code = random_fma(rng)
        theirs = Decoder(64, code, ip=0x1000).decode()
        ours, twin = decode(code), decode(NO_MEANING + code)
        assert (ours is None) == theirs.is_invalid == (twin is None), code.hex()
        if ours is None or twin is None:
            continue
        valid += 1
        check(ours, theirs)
        shift = ours.memory_base == RIP
        for field, _ in lab.Insn._fields_:
            behind = field == "length" or (shift and field == "memory_disp")
            assert getattr(twin, field) == getattr(ours, field) + behind, (code.hex(), field)
    assert valid > 20_000
