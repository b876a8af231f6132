"""The CPU's own BF16 instructions: recognised, counted, and VDPBF16PS under an operator equal to the reference, also in random regions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import guest as guests
import lab
import numpy as np
import programs
import pytest
from guest import R, vec, with_mask
from iced_x86 import Code, Decoder, Instruction, MemoryOperand
from test_core_regions import random_limits, random_shape

from fase.operators import parse

needs_bf16 = pytest.mark.skipif(not lab.HAS_BF16, reason="no AVX512_BF16 here")
REGISTERS = [(1, 2, 3), (1, 1, 2), (1, 2, 1), (1, 2, 2), (5, 5, 5), (17, 30, 31), (31, 4, 31), (12, 13, 14)]
MODES = [
    "fp32", "mp", "bf16", "mp-e4m3fn", "fp16", "mp-e5m2,rounding=rup", "a=bf16,b=e3m4,c=fp32,d=bf16", "a=fp32,b=fp32,c=bf16,d=fp32",
    "e8m10,rounding=rtz", "e4m3fn,saturate", "avx512-bf16", "int8",
]  # fmt: skip


def dots() -> Iterator[Instruction]:
    """VDPBF16PS with every width, mask and kind of operand."""
    for registers, bits, (k, z) in itertools.product(REGISTERS, (128, 256, 512), ((0, False), (3, False), (3, True))):
        size = guests.SIZES[bits]
        code = getattr(Code, f"EVEX_VDPBF16PS_{size}_K1Z_{size}_{size}M{bits}B32")
        names = [vec(r, bits) for r in registers]
        yield with_mask(Instruction.create_reg_reg_reg(code, *names), k, z)
        for broadcast in (False, True):
            yield with_mask(Instruction.create_reg_reg_mem(code, names[0], names[1], MemoryOperand(R.RSI, R.R8, 4, 8, 1, broadcast)), k, z)


@needs_bf16
@pytest.mark.parametrize("mode", ["", *MODES])
def test_form(mode: str) -> None:
    rng = np.random.default_rng(1)
    buffer = guests.Buffer(rng)
    dot = parse(mode).spec if mode else ""
    for insn in dots():
        guest = guests.Guest.from_bytes(guests.encode(insn, lab.guest_base()), 0)
        state = guests.random_state(rng, buffer, True)
        oracle = guests.Oracle(guest, "bf16", dot=mode)
        want = oracle.run(state.copy())
        got, fault, executed = guests.emulate(guest, state.copy(), "bf16", lab.AVX512, lab.Limits(dot=dot))
        assert not fault.rip
        assert executed == oracle.executed
        assert guests.differences(want, got) == [], (str(insn), mode)


@needs_bf16
@pytest.mark.parametrize("mode", ["fp32", "mp"])
def test_operators_that_are_the_instruction_itself(mode: str) -> None:
    """BF16 factors and FP32 sums: not an instruction is added."""
    code = bytes.fromhex("62f2764852c2")  # vdpbf16ps zmm0, zmm1, zmm2
    at = lab.place(code)
    native, emulated = (lab.code_of(lab.translate(at, "bf16", lab.AVX512, lab.Limits(dot=dot))) for dot in ("", parse(mode).spec))
    assert emulated == native


@needs_bf16
@pytest.mark.parametrize("seed", range(80))
def test_random_region(seed: int) -> None:
    """FMAs, VDPBF16PS and conversions mixed, each under its own operator: values, memory and counts, whatever the limits."""
    rng = np.random.default_rng(seed)
    shape = random_shape(rng, evex=True)
    shape.bf16 = float(rng.choice([0.2, 0.5]))
    guest = programs.random_guest(rng, shape)
    guest.excluded += [a for a, i in guest.insns.items() if guests.is_dot(i) and rng.random() < 0.1]
    buffer = guests.Buffer(rng)
    state = guests.random_state(rng, buffer, True)
    operator, mode = str(rng.choice(["bf16", "mp", "fp32"])), str(rng.choice(["", *MODES]))
    limits = random_limits(rng)
    limits.vector_slots = max(limits.vector_slots, 14)  # one VDPBF16PS alone needs so much scratch
    limits.dot = parse(mode).spec if mode else ""
    oracle = guests.Oracle(guest, operator, dot=mode)
    expected = oracle.run(state.copy())
    expected_memory = buffer.bytes()
    buffer.reset()
    got, fault, executed = guests.emulate(guest, state.copy(), operator, lab.AVX512, limits)
    assert not fault.rip
    assert guests.differences(expected, got) == [], (operator, mode, limits)
    assert buffer.bytes() == expected_memory
    assert executed == oracle.executed


@pytest.mark.parametrize("mode", ["bf16-2_2-3", "bf16,exact", "mp-fp16,saturate"])
def test_what_is_not_emitted_is_refused(mode: str) -> None:
    at = lab.place(bytes.fromhex("62f2764852c2"))
    operator = parse(mode).description.text
    assert lab.translate(at, "bf16", lab.AVX512, lab.Limits(dot=operator)).status != lab.OK


def encodings() -> Iterator[tuple[bytes, int]]:
    """EVEX instructions by iced, with what core must call them."""
    for bits in (128, 256, 512):
        size, half = guests.SIZES[bits], "YMM" if bits == 512 else "XMM"
        mem = MemoryOperand(R.RSI, R.R8, 4, 8, 1, True)
        for name, kind in (("VDPBF16PS", 1), ("VCVTNE2PS2BF16", 2)):
            code = getattr(Code, f"EVEX_{name}_{size}_K1Z_{size}_{size}M{bits}B32")
            for numbers in ((0, 1, 2), (31, 17, 24)):
                yield guests.encode(Instruction.create_reg_reg_reg(code, *(vec(n, bits) for n in numbers)), 0), kind
                yield (
                    guests.encode(with_mask(Instruction.create_reg_reg_mem(code, vec(numbers[0], bits), vec(numbers[1], bits), mem), 3, True), 0),
                    kind,
                )
        code = getattr(Code, f"EVEX_VCVTNEPS2BF16_{half}_K1Z_{size}M{bits}B32")
        yield guests.encode(Instruction.create_reg_reg(code, vec(31, max(128, bits // 2)), vec(17, bits)), 0), 2
        yield guests.encode(Instruction.create_reg_mem(code, vec(1, max(128, bits // 2)), mem), 0), 2


VEX = {  # VCVTNEPS2BF16 of AVX-NE-CONVERT: bytes, registers read and written, bytes of memory
    "c4e27a72c8": ({0}, {1}, 0),  # xmm1, xmm0
    "c4427e72fd": ({13}, {15}, 0),  # xmm15, ymm13
    "c4e27a7206": (set(), {0}, 16),  # xmm0, [rsi]
    "67c4a27e720c86": (set(), {1}, 32),  # xmm1, [esi+r8d*4]
}


def decode(code: bytes) -> lab.Insn:
    out = lab.Insn()
    assert lab.lib.fase_lab_decode(code, len(code), 0x1000, out)
    return out


def test_decoding() -> None:
    for code, kind in encodings():
        out = decode(code)
        assert (out.bf16, out.fma, out.length) == (kind, 0, len(code)), code.hex()
    for text, (reads, writes, size) in VEX.items():
        out = decode(bytes.fromhex(text))
        assert (out.bf16, out.fma, out.length) == (2, 0, len(text) // 2), text
        assert out.reads_vectors == sum(1 << r for r in reads)
        assert out.writes_vectors == out.kills_vectors == sum(1 << r for r in writes)
        assert out.memory_bytes == size


def test_neighbours_are_no_bf16_instructions() -> None:
    """Other opcodes, prefixes, widths and maps around these."""
    for code, _ in encodings():
        for byte, bit in itertools.product(range(1, 5), range(8)):
            other = bytearray(code)
            other[byte] ^= 1 << bit
            out = lab.Insn()
            if not lab.lib.fase_lab_decode(bytes(other), len(other), 0, out):
                continue
            theirs = next(iter(Decoder(64, bytes(other))))
            name = guests.str_name(theirs) if theirs.code else ""
            assert (out.bf16 != 0) == name.startswith(("VDPBF16PS", "VCVTNEPS2BF16", "VCVTNE2PS2BF16")), (bytes(other).hex(), name)
