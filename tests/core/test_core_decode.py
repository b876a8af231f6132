"""FMAs and moves, most of which are decoded without Zydis: against iced-x86, and against themselves behind a prefix, where Zydis decodes them."""

from __future__ import annotations

import random

import lab
from iced_x86 import Decoder, Instruction, MemorySizeInfo, Mnemonic, OpKind, Register, RegisterInfo

NO_MEANING = b"\x3e"  # a segment prefix
NONE, RIP = 255, 254
MOVES = (Mnemonic.VMOVUPS, Mnemonic.VMOVAPS, Mnemonic.VBROADCASTSS)
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


def random_move(rng: random.Random) -> bytes:
    """VMOVUPS, VMOVAPS or VBROADCASTSS, in VEX of two or three bytes or in EVEX; or what differs from one in a few bits."""
    opcode, space, prefix = rng.choice(((0x10, 1, 0), (0x11, 1, 0), (0x28, 1, 0), (0x29, 1, 0), (0x18, 2, 1)))
    form = rng.choice((0xC5, 0xC4, 0x62)[space - 1 :])  # the short VEX knows one opcode space
    first, second, third = rng.randbytes(3)
    second = second & 0x04 | 0x78 | prefix
    heads = {
        0xC5: [first & 0x84 | 0x78 | prefix],
        0xC4: [first & 0xE0 | space, second],
        0x62: [first & 0xF0 | space, second | 4, third & 0x60 | 8],
    }
    head = heads[form]
    if rng.random() < 0.3:
        head[-1] ^= 1 << rng.randrange(8)
    return bytes([form, *head, opcode]) + rng.randbytes(12)


def number(register: int) -> int:
    return int(RegisterInfo(register).number)


def check_memory(ours: lab.Insn, theirs: Instruction) -> None:
    assert (ours.memory, ours.broadcast) == (1, theirs.is_broadcast)
    size = MemorySizeInfo(theirs.memory_size)
    assert ours.memory_bytes == (size.element_size if theirs.is_broadcast else size.size)
    base, index = theirs.memory_base, theirs.memory_index
    assert ours.memory_base == (NONE if base == Register.NONE else RIP if base == Register.RIP else number(base))
    assert ours.memory_index == (NONE if index == Register.NONE else number(index))
    assert ours.memory_scale == (1 if index == Register.NONE else theirs.memory_index_scale)
    assert ours.memory_disp % 2**64 == theirs.memory_displacement
    assert ours.reads_gprs == sum({1 << number(r) for r in (base, index) if r not in (Register.NONE, Register.RIP)})


def check_fma(ours: lab.Insn, theirs: Instruction) -> None:
    mnemonic = str(theirs).upper().split()[0]
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
        check_memory(ours, theirs)
        assert (ours.memory_reads, ours.memory_writes) == (1, 0)
    assert ours.reads_vectors == sum(1 << r for r in read)
    assert ours.reads_opmasks == (1 << ours.mask if ours.mask else 0)


def check_move(ours: lab.Insn, theirs: Instruction) -> None:
    store = theirs.op0_kind == OpKind.MEMORY
    assert (ours.length, ours.fma, ours.flow) == (theirs.len, 0, 0)
    vector = 1 << number(theirs.op_register(1 if store else 0))
    assert (ours.reads_vectors, ours.writes_vectors, ours.kills_vectors) == ((vector, 0, 0) if store else (0, vector, vector))
    assert (ours.memory_reads, ours.memory_writes) == (not store, store)
    check_memory(ours, theirs)


def decoded_alike(code: bytes) -> tuple[lab.Insn, Instruction] | None:
    """By us and by iced; Zydis sees it behind a prefix. None: all three say that it is no instruction."""
    theirs = Decoder(64, code, ip=0x1000).decode()
    ours, twin = decode(code), decode(NO_MEANING + code)
    assert (ours is None) == theirs.is_invalid == (twin is None), code.hex()
    if ours is None or twin is None:
        return None
    for field in (f[0] for f in lab.Insn._fields_):
        behind = field == "length" or (ours.memory_base == RIP and field == "memory_disp")
        assert getattr(twin, field) == getattr(ours, field) + behind, (code.hex(), field)
    return ours, theirs


def test_fmas() -> None:
    rng = random.Random(7)
    both = [x for x in (decoded_alike(random_fma(rng)) for _ in range(30_000)) if x]
    assert len(both) > 20_000
    for ours, theirs in both:
        check_fma(ours, theirs)


def test_moves() -> None:
    rng = random.Random(8)
    both = [x for x in (decoded_alike(random_move(rng)) for _ in range(20_000)) if x]
    plain = [(ours, theirs) for ours, theirs in both if theirs.mnemonic in MOVES and ours.memory and not theirs.has_op_mask]
    assert len(plain) > 8_000
    for ours, theirs in plain:
        check_move(ours, theirs)
