"""Loops that test factors for NaNs and round those out of line: the same results, flags and opmasks as without, in each place a NaN can come from."""

from __future__ import annotations

import mmap

import guest as guests
import kernels
import lab
import numpy as np
import programs
import pytest
from cliff import Cliff
from guest import R, fma_code, vec
from iced_x86 import Code, Instruction, MemoryOperand

pytestmark = pytest.mark.skipif(not lab.HAS_AVX512, reason="needs AVX-512")
NAN_PATHS = 1 << 8
OFF = lab.ALL_PASSES & ~NAN_PATHS
# Quiet and signaling, both signs; the largest payload, the smallest, those around what 7 bits keep, and one whose rounding up would leave the NaNs.
PAYLOADS = [0x400000, 0x400001, 0x7FFFFF, 0x7F7FFF, 0x408000, 0x1, 0x3FFFFF, 0x7FFF, 0x8000, 0x18000]
NANS = [sign | 0x7F800000 | payload for sign in (0, 0x80000000) for payload in PAYLOADS]
# Numbers at which a careless test would take a wrong turn, or leave a trace in MXCSR.
NEIGHBOURS = [0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x00000001, 0x807FFFFF, 0x00008000, 0]
COLUMNS = 6
ROWS, FACTORS = R.RDI, R.RSI


class Product(programs.Writer):
    """A loop as matrix products have it: two rows, loaded; columns, broadcast; one row straight from memory. Flags are dead but for the last two.

    `masked`: so many opmasks have work to do in the loop. `early`: the counter's flags live all through the loop.
    `count`: the last instruction but the branch. `behind`: what follows the loop.
    """

    def __init__(self, bits: int, masked: int = 0, early: bool = False, evex: bool = False):
        super().__init__(np.random.default_rng(0), programs.Shape())
        self.count = Instruction.create_reg_i32(Code.SUB_RM64_IMM8, R.RCX, 1)
        self.behind: list[Instruction] = []
        self.width, self.masked, self.early = bits, masked, early
        self.evex = evex or bits == 512

    def load(self, register: int, base: int, disp: int) -> None:
        code = {256: Code.VEX_VMOVUPS_YMM_YMMM256, 512: Code.EVEX_VMOVUPS_ZMM_K1Z_ZMMM512}[self.width]
        self.add(Instruction.create_reg_mem(code, vec(register, self.width), MemoryOperand(base, displ=disp, displ_size=8)))

    def broadcast(self, register: int, disp: int) -> None:
        code = {256: Code.VEX_VBROADCASTSS_YMM_M32, 512: Code.EVEX_VBROADCASTSS_ZMM_K1Z_XMMM32}[self.width]
        self.add(Instruction.create_reg_mem(code, vec(register, self.width), MemoryOperand(FACTORS, displ=disp, displ_size=8)))

    def write(self) -> guests.Guest:
        code, size = fma_code("231", "FMADD", self.width, False, self.evex), self.width // 8
        for row in range(2):
            self.load(row, ROWS, size * row)
        for k in range(self.masked):
            self.add(Instruction.create_reg_reg(Code.VEX_KMOVW_KR_R32, R.K7 - k, R.EAX))
        entry = 0
        for column in range(COLUMNS):
            self.broadcast(2, 4 * column)
            if column == 0:
                if self.early:
                    self.add(Instruction.create_reg(Code.DEC_RM64, R.RCX))
                entry = len(self.items)
            for row in range(2):
                self.add(Instruction.create_reg_reg_reg(code, *(vec(n, self.width) for n in (4 + 2 * column + row, 2, row))))
        straight = MemoryOperand(ROWS, displ=2 * size, displ_size=8)
        self.add(Instruction.create_reg_reg_mem(code, vec(3, self.width), vec(2, self.width), straight))
        self.add(Instruction.create_reg_mem(Code.LEA_R64_M, ROWS, MemoryOperand(ROWS, displ=3 * size, displ_size=8)))
        if not self.early:
            self.add(self.count)
        self.items.append(("back", 5))
        for i in self.behind:
            self.add(i)
        return self.assemble(entry)


def places(bits: int) -> dict[str, int]:
    """Where, in bytes from the rows, what the second pass reads lies; columns are 1024 bytes further on. (The first enters behind the loads.)"""
    size = bits // 8
    rows = {"row 0": 3 * size + 4, "row 1": 4 * size + 12, "memory": 6 * size - 4, "both rows": 3 * size}
    return rows | {"column": 1024 + 8, "last column": 1024 + 20}


def prepared(seed: int, passes: int = 4) -> tuple[guests.Buffer, lab.State]:
    """Ordinary numbers everywhere, so that what is put among them is all there is."""
    rng = np.random.default_rng(seed)
    buffer = guests.Buffer(rng)
    buffer.initial = rng.standard_normal(buffer.size // 4).astype(np.float32).tobytes()
    buffer.reset()
    state = guests.random_state(rng, buffer, True)
    state.lanes()[:] = rng.standard_normal((32, 16)).astype(np.float32).view(np.uint32)
    state.gpr[7], state.gpr[6], state.gpr[1] = buffer.at, buffer.at + 1024, passes
    return buffer, state


def emitted(guest: guests.Guest, operator: str, limits: lab.Limits, isa: int = lab.AVX512) -> str:
    limits.excluded = guest.excluded
    t = lab.translate(guest.entry, operator, isa, limits)
    return "\n".join(lab.disassemble(lab.code_of(t), t.code))


def check(guest: guests.Guest, buffer: guests.Buffer, state: lab.State, operator: str, scratch_registers: int = 32) -> None:
    buffer.reset()
    oracle = guests.Oracle(guest, operator)
    expected = oracle.run(state.copy())
    for passes in (lab.ALL_PASSES, OFF):
        buffer.reset()
        got, fault, executed = guests.emulate(
            guest, state.copy(), operator, lab.AVX512, lab.Limits(passes=passes, vector_slots=40, scratch_registers=scratch_registers)
        )
        assert not fault.rip
        assert guests.differences(expected, got) == []
        assert executed == oracle.executed


@pytest.mark.parametrize("bits", [256, 512])
@pytest.mark.parametrize("place", places(256))
def test_each_nan_in_each_place(bits: int, place: str) -> None:
    guest = Product(bits).write()
    guest.excluded = []
    buffer, state = prepared(bits)
    ordinary = buffer.initial
    at = places(bits)[place]
    for n, word in enumerate(NANS + NEIGHBOURS):
        words = np.frombuffer(ordinary, np.uint32).copy()
        words[at // 4] = word
        if place == "both rows":
            words[at // 4 + bits // 32 + n % 8] = NANS[-1 - n % len(NANS)]
        buffer.initial = words.tobytes()
        check(guest, buffer, state, ("mp", "bf16", "e8m10,e8m7,e8m23,e8m12", "e8m22,e8m3,e8m23,e8m23")[n % 4])


@pytest.mark.parametrize("register", [0, 1, 2, 3, 4])
def test_nans_that_are_there_before_the_loop(register: int) -> None:
    guest = Product(256).write()
    guest.excluded = []
    for word in NANS[::3]:
        buffer, state = prepared(word & 0xFF)
        state.lanes()[register, 3] = word
        check(guest, buffer, state, "mp")


@pytest.mark.parametrize("bits", [256, 512])
def test_mxcsr_shows_nothing(bits: int) -> None:
    """A test for NaNs by comparison would see subnormals and signaling NaNs, and with exceptions unmasked would end the program."""
    guest = Product(bits).write()
    guest.excluded = []
    buffer, state = prepared(7)
    words = np.frombuffer(buffer.initial, np.uint32).copy()
    words[places(bits)["row 0"] // 4] = 0x00000001
    words[places(bits)["row 1"] // 4] = 0x7F800001
    buffer.initial = words.tobytes()
    state.mxcsr = 0x1F80 & ~(1 << 7 | 1 << 8)  # invalid operations and subnormals trap
    buffer.reset()
    got, fault, _ = guests.emulate(guest, state.copy(), "mp", lab.AVX512, lab.Limits(vector_slots=40))
    assert not fault.rip
    assert not got.mxcsr & 3


@pytest.mark.parametrize("masked", range(8))
def test_opmasks_of_the_loop_are_left_alone(masked: int) -> None:
    guest = Product(512, masked).write()
    guest.excluded = []
    buffer, state = prepared(masked)
    state.lanes()[1, 5] = 0xFFFFFFFF
    check(guest, buffer, state, "mp")
    text = emitted(guest, "mp", lab.Limits(vector_slots=40))
    tests, branches = text.count("vfpclassps") + 2 * text.count("vcmpunordps"), text.count("kortestw")
    assert (tests > branches > 0) == (masked < 6)
    assert (tests == branches > 0) == (masked == 6)


def test_where_there_are_tests() -> None:
    """In loops, with the AVX-512 emitter, where flags are dead; and then most of them cover two factors."""
    guest = Product(256).write()
    guest.excluded = []
    limits = lab.Limits(vector_slots=40)
    text = emitted(guest, "mp", limits)
    assert text.count("vfpclassps") >= 4
    assert text.count("kortestw") <= text.count("vfpclassps") * 3 // 4
    assert "vfpclassps" not in emitted(guest, "mp", lab.Limits(passes=OFF, vector_slots=40))
    assert "vfpclassps" not in emitted(guest, "mp", limits, lab.AVX2)
    assert "vfpclassps" not in emitted(guest, "fp32", limits)
    assert "vfpclassps" not in emitted(guest, "mp", lab.Limits(loops=False, vector_slots=40))
    early = Product(256, early=True).write()
    early.excluded = []
    assert "vfpclassps" not in emitted(early, "mp", limits)
    buffer, state = prepared(1)
    check(early, buffer, state, "mp")


@pytest.mark.parametrize(("bits", "seed"), [(bits, seed) for bits in (256, 512) for seed in range(60)])
def test_random_kernel_with_few_nans(bits: int, seed: int) -> None:
    """Most factors are ordinary, so that both ways are taken; the pass alone, with the others, and without."""
    rng = np.random.default_rng(seed)
    guest = kernels.Kernel(rng, float(rng.choice([0, 0.1])), bits).write()
    buffer, state = prepared(seed)
    words = np.frombuffer(buffer.initial, np.uint32).copy()
    where = rng.integers(0, words.size, 24)
    words[where] = rng.choice(np.array(NANS + NEIGHBOURS, np.uint32), where.size)
    buffer.initial = words.tobytes()
    state.gpr[6], state.gpr[7] = buffer.at + 2048, buffer.at + 1024
    state.gpr[13] = state.gpr[7] - 512
    operator = str(rng.choice(["bf16", "mp", "e8m10,e8m7,e8m23,e8m12", "e8m7,e8m7,e8m23,e8m7"]))
    buffer.reset()
    oracle = guests.Oracle(guest, operator)
    expected = oracle.run(state.copy())
    memory = buffer.bytes()
    flags_may_change = 1 << 3
    for passes in (lab.ALL_PASSES, lab.ALL_PASSES & ~(1 << 7), OFF, NAN_PATHS | flags_may_change):
        buffer.reset()
        limits = lab.Limits(passes=passes, vector_slots=int(rng.choice([8, 14, 40])), scratch_registers=int(rng.choice([4, 32])))
        got, fault, executed = guests.emulate(guest, state.copy(), operator, lab.AVX512, limits)
        assert not fault.rip
        assert guests.differences(expected, got) == [], (operator, limits)
        assert buffer.bytes() == memory
        assert executed == oracle.executed


@pytest.mark.parametrize("bits", [256, 512])
@pytest.mark.parametrize("seed", range(20))
def test_fault_in_the_loop(bits: int, seed: int) -> None:
    """The rows run into a page without access, or the columns do. The opmasks shown there are the program's, and the program can go on from there."""
    rng = np.random.default_rng(seed)
    masked = int(rng.integers(0, 7))
    guest = Product(bits, masked, evex=masked > 0).write()
    guest.excluded = []
    buffer, state = prepared(seed)
    unchanged = buffer.bytes()
    numbers = rng.standard_normal(mmap.PAGESIZE // 2).astype(np.float32).view(np.uint32)
    numbers[mmap.PAGESIZE // 4 - 60 :: 7] = rng.choice(np.array(NANS, np.uint32))
    cliff = Cliff(numbers)
    columns = bool(rng.random() < 0.3)
    if columns:
        state.gpr[6] = cliff.edge - 4 * int(rng.integers(0, COLUMNS))
    else:
        state.gpr[7] = cliff.edge - 3 * bits // 8 - 4 * int(rng.integers(0, 48))
    shown = cliff.check(guest, state, "mp")
    by_program = state.gpr[0] & 0xFFFF
    for k in range(8):
        assert shown.opmask[k] in ({state.opmask[k], by_program} if k > 7 - masked else {state.opmask[k]})
    assert buffer.bytes() == unchanged
