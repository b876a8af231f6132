"""Every form of every FMA instruction, one region each, against the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import guest as guests
import lab
import numpy as np
import pytest
from guest import KINDS, R, vec, with_mask
from iced_x86 import Instruction, MemoryOperand

FORMS = ["132", "213", "231"]
REGISTERS = [(1, 2, 3), (1, 1, 2), (1, 2, 1), (1, 2, 2), (5, 5, 5), (17, 30, 31), (31, 4, 31), (12, 13, 14)]
MODES = ["bf16", "mp", "fp32", "e8m4,e8m9,e8m12,e8m6", "e8m23,e8m7,e8m10,e8m23"]


def instructions(form: str, kind: str, evex: bool, rng: np.random.Generator, fp64: bool = False) -> Iterator[Instruction]:
    scalars = [False, True] if kind in KINDS[:4] else [False]
    for scalar, registers in itertools.product(scalars, REGISTERS):
        if not evex and max(registers) > 15:
            continue
        for bits in [128] if scalar else [128, 256, 512] if evex else [128, 256]:
            code = guests.fma_code(form, kind, bits, scalar, evex, fp64)
            names = [vec(r, bits) for r in registers]
            masks = [(0, False), (3, False), (3, True)] if evex else [(0, False)]
            for k, z in masks:
                yield with_mask(Instruction.create_reg_reg_reg(code, *names), k, z)
                if evex and (scalar or bits == 512):
                    i = with_mask(Instruction.create_reg_reg_reg(code, *names), k, z)
                    i.rounding_control = int(rng.integers(1, 5))
                    yield i
                for broadcast in [False, True] if evex and not scalar else [False]:
                    m = MemoryOperand(R.RSI, R.R8, 4, 8, 1, broadcast)
                    yield with_mask(Instruction.create_reg_reg_mem(code, names[0], names[1], m), k, z)


@pytest.mark.parametrize(("isa", "evex"), [(lab.AVX2, False), (lab.AVX512, False), (lab.AVX512, True)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_form(kind: str, form: str, isa: int, evex: bool) -> None:
    if isa == lab.AVX512 and not lab.HAS_AVX512:
        pytest.skip("no AVX-512 here")
    rng = np.random.default_rng(1)
    buffer = guests.Buffer(rng)
    for insn in instructions(form, kind, evex, rng):
        guest = guests.Guest.from_bytes(guests.encode(insn, lab.guest_base()), 0)
        for mode in MODES:
            state = guests.random_state(rng, buffer, True)
            want = guests.Oracle(guest, mode).run(state.copy())
            got, fault, executed = guests.emulate(guest, state.copy(), mode, isa, lab.Limits())
            assert not fault.rip
            assert executed["emulated"] == 1
            assert guests.differences(want, got) == [], (str(insn), mode)


def test_code_that_core_does_not_move_is_refused() -> None:
    guest = guests.Guest.from_bytes(bytes.fromhex("67c4e275b806"), 0)  # vfmadd231ps ymm0, ymm1, [esi]
    assert lab.translate(guest.entry, "bf16", lab.AVX2).status != lab.OK


def test_fp64_and_excluded_are_copied_and_counted() -> None:
    code = bytes.fromhex("c4e2f5b8c2c4e275b8c2c4e275b8da")  # vfmadd231pd ymm0,ymm1,ymm2; 231ps ymm0; 231ps ymm3
    guest = guests.Guest.from_bytes(code, 0, excluded=[lab.guest_base() + 5])
    rng = np.random.default_rng(0)
    state = guests.random_state(rng, guests.Buffer(rng), True)
    want = guests.Oracle(guest, "bf16").run(state.copy())
    got, _, executed = guests.emulate(guest, state.copy(), "bf16", lab.AVX2, lab.Limits())
    assert guests.differences(want, got) == []
    assert executed == dict.fromkeys(lab.COUNTS, 0) | {"emulated": 1, "excluded": 1, "fp64": 1}
