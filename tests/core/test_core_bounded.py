"""Loops of sums that are there twice: what the bounded one computes is what the full one would, whatever comes in at whichever place and pass."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import guest as guests
import lab
import numpy as np
import programs
import pytest
from cliff import Cliff
from guest import R, fma_code, vec
from iced_x86 import Code, Instruction, MemoryOperand

import fase

pytestmark = pytest.mark.skipif(not lab.HAS_AVX512, reason="needs AVX-512")
WIDEN, BOUNDED = 1 << 7, 1 << 9
OFF = lab.ALL_PASSES & ~BOUNDED
OPERATORS = ["bf16", "tf32", "e8m1,e8m1,e8m1,e8m1", "e8m7,e8m3,e8m10,e8m8", "e8m7,e8m7,e8m13,e8m10", "e8m7,e8m7,e8m23,e8m7"]
OTHERS = ["e8m11,e8m11,e8m11,e8m11", "e8m7,e8m10,e8m23,e8m7", "e8m7,e8m7,e8m3,e8m7", "e4m3,e4m3,e8m7,e8m7", "e8m7,e8m7,e8m7,e8m7,exact"]
ROWS, COLUMNS, SUMS = R.RDI, R.RSI, R.R8


def power(exponent: int, sign: int = 0) -> int:
    """The encoding of a power of two."""
    return sign << 31 | (exponent + 127) << 23


EXPONENTS = [-126, -104, -103, -102, -54, -53, -52, -44, -43, -42, 20, 21, 22, 49, 50, 51, 99, 100, 111, 112, 127]
EDGES = [power(e, sign) + step for e in EXPONENTS for sign in (0, 1) for step in (-1, 0, 1)]
"""Around every limit there is, and around those that there would be without a margin."""
SPECIALS = [0, 1 << 31, 1, 0x80000001, 0x8000, 0x7FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345, 0x7F800001, *EDGES]


class Sums(programs.Writer):
    """A matrix product's loop: rows, loaded; columns, from registers or straight from memory; a sum for each pair of them.

    `stored`: the sums come from memory at the start of a pass and go there at its end; `late`: each before its product; `advance`: the next pass has
    others.
    `between`: a row is loaded just before it is used, after the column. `early`: the counter's flags live all through the loop.
    `inside`: what else the loop does. `count`: the last instruction but the branch. `behind`: what follows the loop.
    """

    def __init__(self, seed: int, bits: int = 512, rows: int = 2, columns: int = 6, stored: bool = False, exits: float = 0, early: bool = False):
        super().__init__(np.random.default_rng(seed), programs.Shape())
        self.width, self.rows, self.columns, self.stored, self.exits, self.early = bits, rows, columns, stored, exits, early
        self.straight = bits == 512 and self.chance(0.5)
        self.between = self.advance = self.late = False
        self.count = Instruction.create_reg_i32(Code.SUB_RM64_IMM8, R.RCX, 1)
        self.inside: list[Instruction] = []
        self.behind: list[Instruction] = []
        self.negative, self.swapped = self.rng.random(columns) < 0.2, self.rng.random(columns) < 0.5
        self.entry = -1

    @property
    def size(self) -> int:
        return self.width // 8

    def move(self, register: int, base: int, disp: int, store: bool = False) -> None:
        where = MemoryOperand(base, displ=disp, displ_size=8)
        narrow = Code.VEX_VMOVUPS_YMMM256_YMM if store else Code.VEX_VMOVUPS_YMM_YMMM256
        wide = Code.EVEX_VMOVUPS_ZMMM512_K1Z_ZMM if store else Code.EVEX_VMOVUPS_ZMM_K1Z_ZMMM512
        code = narrow if self.width == 256 else wide
        if store:
            self.add(Instruction.create_mem_reg(code, where, vec(register, self.width)))
        else:
            self.add(Instruction.create_reg_mem(code, vec(register, self.width), where))

    def multiply(self, sum_: int, column: int, row: int) -> None:
        code = fma_code("231", "FNMADD" if self.negative[column] else "FMADD", self.width, False, self.width == 512)
        if self.entry < 0:
            self.entry = len(self.items)
        at = MemoryOperand(COLUMNS, displ=4 * column, displ_size=8, is_broadcast=self.straight)
        if self.straight:
            self.add(Instruction.create_reg_reg_mem(code, vec(sum_, self.width), vec(row, self.width), at))
        else:
            factors = [3, row] if self.swapped[column] else [row, 3]
            self.add(Instruction.create_reg_reg_reg(code, *(vec(n, self.width) for n in (sum_, *factors))))
        if self.chance(self.exits):
            self.items.append(("exit", int(self.rng.choice(list(guests.CONDITIONS)))))

    def load_rows(self) -> None:
        for row in range(self.rows):
            self.move(row, ROWS, self.size * row)

    def start(self, sum_: int) -> None:
        if self.width == 512 and self.chance(0.1):
            self.add(Instruction.create_reg_reg_reg(Code.EVEX_VPXORD_ZMM_K1Z_ZMM_ZMMM512B32, *[vec(sum_, 512)] * 3))
        else:
            self.move(sum_, SUMS, self.size * sum_)

    def write(self) -> guests.Guest:
        sums = [4 + n for n in range(self.rows * self.columns)]
        if self.width == 512:
            self.load_rows()
        for n in sums if self.stored and not self.late else []:
            self.start(n)
        for i in self.inside:
            self.add(i)
        if self.early:
            self.add(Instruction.create_reg(Code.DEC_RM64, R.RCX))
        for column in range(self.columns):
            if not self.straight:
                code = {256: Code.VEX_VBROADCASTSS_YMM_M32, 512: Code.EVEX_VBROADCASTSS_ZMM_K1Z_XMMM32}[self.width]
                self.add(Instruction.create_reg_mem(code, vec(3, self.width), MemoryOperand(COLUMNS, displ=4 * column, displ_size=8)))
            for row in range(self.rows):
                if self.between:
                    self.move(row, ROWS, self.size * (self.rows * column + row))
                n = 4 + self.rows * column + row
                if self.late:
                    self.start(n)
                self.multiply(n, column, row)
        for n in sums if self.stored else []:
            self.move(n, SUMS, self.size * n, store=True)
        if self.advance:
            self.add(Instruction.create_reg_mem(Code.LEA_R64_M, SUMS, MemoryOperand(SUMS, displ=self.size * len(sums), displ_size=8)))
        if self.width == 256:  # the widened loop wants them before its exit
            self.load_rows()
        self.add(Instruction.create_reg_mem(Code.LEA_R64_M, ROWS, MemoryOperand(ROWS, displ=self.size * self.rows, displ_size=8)))
        if not self.early:
            self.add(self.count)
        self.items.append(("back", 5))
        for i in self.behind:
            self.add(i)
        out = self.assemble(self.entry)
        out.excluded = []
        return out


def prepared(seed: int, passes: int = 4, scale: float = 1) -> tuple[guests.Buffer, lab.State]:
    """Ordinary numbers everywhere, so that what is put among them is all there is."""
    rng = np.random.default_rng(seed)
    buffer = guests.Buffer(rng)
    buffer.initial = (scale * rng.standard_normal(buffer.size // 4)).astype(np.float32).tobytes()
    buffer.reset()
    state = guests.random_state(rng, buffer, True)
    state.lanes()[:] = (scale * rng.standard_normal((32, 16))).astype(np.float32).view(np.uint32)
    state.gpr[7], state.gpr[6], state.gpr[8], state.gpr[1] = buffer.at + 2048, buffer.at + 1024, buffer.at, passes
    state.mxcsr = 0x1F80
    return buffer, state


def put(buffer: guests.Buffer, at: int, word: int) -> None:
    words = np.frombuffer(buffer.initial, np.uint32).copy()
    words[at // 4] = word
    buffer.initial = words.tobytes()


def emitted(guest: guests.Guest, operator: str, limits: lab.Limits, isa: int = lab.AVX512) -> str:
    t = lab.translate(guest.entry, operator, isa, limits)
    return "\n".join(lab.disassemble(lab.code_of(t), t.code))


def is_bounded(guest: guests.Guest, operator: str, limits: lab.Limits | None = None, isa: int = lab.AVX512) -> bool:
    """Only there sums are rounded by additions."""
    return "vsubps" in emitted(guest, operator, limits or lab.Limits(vector_slots=40), isa)


def check(guest: guests.Guest, buffer: guests.Buffer, state: lab.State, operator: str, limits: list[lab.Limits] | None = None) -> None:
    buffer.reset()
    oracle = guests.Oracle(guest, operator)
    expected = oracle.run(state.copy())
    memory = buffer.bytes()
    for each in limits or [lab.Limits(vector_slots=40)]:
        buffer.reset()
        got, fault, executed = guests.emulate(guest, state.copy(), operator, lab.AVX512, each)
        assert not fault.rip
        assert guests.differences(expected, got) == [], (operator, each)
        assert buffer.bytes() == memory
        assert executed == oracle.executed


def places(guest: Sums) -> dict[str, int]:
    """Where, in bytes from the buffer's start, numbers lie that the second pass reads."""
    return {"row": 2048 + guest.size * guest.rows + 8, "column": 1024, "last column": 1024 + 4 * guest.columns - 4}


SHAPES: dict[str, dict[str, Any]] = {
    "few factors": {"rows": 1, "columns": 20},
    "many factors": {"rows": 3, "columns": 4},
    "widened": {"bits": 256, "rows": 2, "columns": 6},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", ["row", "column", "last column"])
def test_each_number_as_a_factor(shape: str, place: str) -> None:
    writer = Sums(1, **SHAPES[shape])
    guest = writer.write()
    assert is_bounded(guest, "bf16")
    for n, word in enumerate(SPECIALS):
        buffer, state = prepared(n)
        put(buffer, places(writer)[place], word)
        check(guest, buffer, state, OPERATORS[n % len(OPERATORS)])
        put(buffer, places(writer)[place] - 4, (n & 1) << 31)  # beside a zero
        check(guest, buffer, state, OPERATORS[n % len(OPERATORS)])


@pytest.mark.parametrize("shape", SHAPES)
def test_two_nans_at_once(shape: str) -> None:
    """Which of them an FMA passes on depends on the order of its factors."""
    for seed in range(8):
        writer = Sums(seed, **SHAPES[shape])
        guest = writer.write()
        buffer, state = prepared(seed)
        for column in range(writer.columns):
            put(buffer, 1024 + 4 * column, 0xFFD20000)
        state.lanes()[:4, 2] = [0x7FC10000, 0x7FC30000, 0x7FC50000, 0x7FC70000]
        check(guest, buffer, state, "bf16")


@pytest.mark.parametrize("shape", SHAPES)
def test_each_number_as_a_sum(shape: str) -> None:
    guest = Sums(2, **SHAPES[shape]).write()
    assert is_bounded(guest, "bf16")
    for n, word in enumerate(SPECIALS):
        buffer, state = prepared(n, scale=[1, 0, 1e-10][n % 3])
        state.lanes()[5 + n % 3, n % 4] = word
        check(guest, buffer, state, OPERATORS[n % len(OPERATORS)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("operator", OPERATORS)
def test_each_number_as_a_sum_from_memory(operator: str, late: bool, seed: int) -> None:
    """Where the loop itself loads its sums: all at the start, or each when its factors are there already, columns as either factor."""
    writer = Sums(seed, rows=1, columns=8, stored=True)
    writer.advance, writer.late, writer.straight = True, late, seed == 0
    guest = writer.write()
    assert is_bounded(guest, operator) == ("e8m23" not in operator)  # those would not be looked at
    for n, word in enumerate(SPECIALS[seed::3]):
        buffer, state = prepared(n, passes=3, scale=[1, 0, 1e-10][n % 3])
        put(buffer, 64 * (4 + 8 * (n % 3) + n % 8) + 4 * (n % 16), word)
        check(guest, buffer, state, operator)


def test_negative_zeros() -> None:
    """-0 + -0 is -0, which rounding by adding does not know: it must not be lost where a sum starts so, nor made of a factor's sign."""
    for seed, (rows, columns, stored) in enumerate([(1, 20, False), (3, 4, False), (1, 5, True), (2, 2, True)]):
        writer = Sums(seed, rows=rows, columns=columns, stored=stored)
        writer.advance = stored
        guest = writer.write()
        assert is_bounded(guest, "bf16")
        buffer, state = prepared(seed, passes=3, scale=0)
        words = np.frombuffer(buffer.initial, np.uint32).copy()
        words[:] = np.random.default_rng(seed).choice(np.array([0, 1 << 31, power(0), power(-149 + 126)], np.uint32), words.size)
        buffer.initial = words.tobytes()
        for start in (0, 1 << 31):
            state.lanes()[4:] = start
            check(guest, buffer, state, "bf16")


class Late(Sums):
    """Sixteen sums, each of which gets ten products a pass: of row 0 or 1, and a column of A (eight times), B and C."""

    def write(self) -> guests.Guest:
        code = fma_code("231", "FMADD", 512, False, True)
        for row in range(2):
            self.move(row, ROWS, 64 * row)
        for row, first in (*[(0, 0), (1, 0)] * 4, (0, 16), (1, 32)):
            for n in range(16):
                if self.entry < 0:
                    self.entry = len(self.items)
                at = MemoryOperand(COLUMNS, displ=4 * (first + n), displ_size=8, is_broadcast=True)
                self.add(Instruction.create_reg_reg_mem(code, vec(4 + n, 512), vec(row, 512), at))
        self.add(Instruction.create_reg_i32(Code.SUB_RM64_IMM8, R.RCX, 1))
        self.items.append(("back", 5))
        out = self.assemble(self.entry)
        out.excluded = []
        return out


def test_a_factor_of_negative_zero_before_the_full_loop_takes_over() -> None:
    """B's tiny numbers send control there, and make -0 of the sums. Row 1, already rounded, must have kept its sign: -0 + -0 * 1."""
    guest = Late(0).write()
    assert is_bounded(guest, "bf16")
    buffer, state = prepared(0, passes=1)
    words = np.frombuffer(buffer.initial, np.uint32).copy()
    words[256:272], words[272:288], words[288:304] = 0, power(-120), power(0)
    buffer.initial = words.tobytes()
    state.lanes()[0], state.lanes()[1], state.lanes()[4:] = power(-40, 1), 1 << 31, 0
    check(guest, buffer, state, "bf16")
    buffer.reset()
    got, _, _ = guests.emulate(guest, state.copy(), "bf16", lab.AVX512, lab.Limits(vector_slots=40))
    assert (got.lanes()[4:20] == 1 << 31).all()


@pytest.mark.parametrize("full", [False, True], ids=["registers left", "all registers"])
@pytest.mark.parametrize("operator", ["bf16", "e8m7,e8m7,e8m23,e8m7"])
@pytest.mark.parametrize("control", [0x2000, 0x4000, 0x6000, 0x8000, 0x40, 0x8040])
def test_other_modes_of_the_processor(control: int, full: bool, operator: str) -> None:
    """Rounding down makes -0 of what cancels; flush to zero and subnormals as zeros change nothing within the bounds, and are obeyed beyond."""
    writer = Sums(3)
    if full:
        writer = Sums(3, rows=2, columns=14)
        writer.straight = False
        writer.inside = [Instruction.create_mem_reg(Code.EVEX_VMOVUPS_ZMMM512_K1Z_ZMM, MemoryOperand(SUMS), vec(2, 512))]
    guest = writer.write()
    assert is_bounded(guest, operator)
    rng = np.random.default_rng(control)
    for n in range(12):
        buffer, state = prepared(n, passes=2)
        state.mxcsr |= control
        small = rng.choice(np.array([1, -1, 2, -2, 0], np.float32), buffer.size // 4)
        unusual = rng.random(small.size) < [0, 0, 0.02][n % 3]
        words = np.where(unusual, np.uint32([power(-70), 0x12345, 0x80000001][n // 3 % 3]), small.view(np.uint32))
        buffer.initial = words.astype(np.uint32).tobytes()
        state.lanes()[4:] = rng.choice(np.array([1, -1, 2, 0], np.float32), (28, 16)).view(np.uint32)
        check(guest, buffer, state, operator)


@pytest.mark.parametrize("exponent", [-75, -68, -62, -56, -53, -50, 40, 49, 52, 56, 62])
@pytest.mark.parametrize("operator", OPERATORS[:4])
def test_sums_about_the_ends_of_the_window(exponent: int, operator: str) -> None:
    """Thousands of passes over the smallest and largest factors, and those beyond: sums grow to where they stay, or cancel. The full loop knows."""
    guest = Sums(4, rows=2, columns=6).write()
    assert is_bounded(guest, operator)
    rng = np.random.default_rng(exponent & 0xFF)
    buffer, state = prepared(0)
    words = (rng.uniform(1, 2, buffer.size // 4) * 2.0**exponent * rng.choice([1, 1, 1, -1], buffer.size // 4)).astype(np.float32).view(np.uint32)
    buffer.initial = words.tobytes()
    state.lanes()[:4] = words[:64].reshape(4, 16)
    for start in (0, power(99), power(-103, 1)):
        state.lanes()[4:] = start
        state.gpr[1] = 12
        results = []
        for passes in (lab.ALL_PASSES, OFF):
            buffer.reset()
            s = state.copy()
            for _ in range(200):  # the same rows again
                s, fault, _ = guests.emulate(guest, s, operator, lab.AVX512, lab.Limits(passes=passes, vector_slots=40))
                assert not fault.rip
                s.gpr[7], s.gpr[1] = state.gpr[7], state.gpr[1]
            results.append(s.lanes().copy())
        assert np.array_equal(results[0], results[1])


@pytest.mark.parametrize("seed", range(240))
def test_random_loops(seed: int) -> None:
    """Few numbers are unusual, so that both loops run, with this pass and others on and off, and registers few or many."""
    rng = np.random.default_rng(seed)
    bits = int(rng.choice([256, 512, 512]))
    rows = int(rng.choice([1, 2, 3] if bits == 512 else [2]))
    columns = int(rng.integers(2, min(24, 27 // rows) + 1)) if bits == 512 else int(rng.integers(1, 7))
    writer = Sums(seed, bits, rows, columns, bool(bits == 512 and rng.random() < 0.4), float(rng.choice([0, 0, 0.05])), bool(rng.random() < 0.1))
    writer.late = bool(rng.random() < 0.5)
    guest = writer.write()
    buffer, state = prepared(seed, int(rng.integers(1, 8)), float(rng.choice([1, 1, 1e-12, 1e12])))
    words = np.frombuffer(buffer.initial, np.uint32).copy()
    where = rng.integers(0, words.size, int(rng.choice([0, 3, 20])))
    words[where] = rng.choice(np.array(SPECIALS, np.uint32), where.size)
    if rng.random() < 0.3:
        words[rng.random(words.size) < 0.3] = 0
    buffer.initial = words.tobytes()
    if rng.random() < 0.3:
        state.lanes()[int(rng.integers(32)), int(rng.integers(16))] = int(rng.choice(np.array(SPECIALS, np.uint32)))
    limits = [
        lab.Limits(passes=passes, vector_slots=int(rng.choice([8, 14, 40])), scratch_registers=int(rng.choice([4, 32])))
        for passes in (lab.ALL_PASSES, lab.ALL_PASSES & ~WIDEN, OFF, BOUNDED | 1 << 3, lab.ALL_PASSES & ~(1 << int(rng.integers(10))))
    ]
    check(guest, buffer, state, str(rng.choice(OPERATORS)), limits)


@pytest.mark.parametrize("seed", range(24))
def test_fault_in_the_loop(seed: int) -> None:
    """What the program is shown is what it has computed so far, in either loop, and it can go on from there."""
    rng = np.random.default_rng(seed)
    writer = Sums(seed, int(rng.choice([256, 512])), 2, int(rng.integers(2, 7)))
    writer.between = writer.width == 512 and rng.random() < 0.5
    guest = writer.write()
    buffer, state = prepared(seed, 10)  # rows loaded in between end with the buffer
    unchanged = buffer.bytes()
    numbers = rng.standard_normal(mmap.PAGESIZE // 2).astype(np.float32).view(np.uint32)
    if seed % 2:
        numbers[mmap.PAGESIZE // 4 - 90 :: 7] = rng.choice(np.array(SPECIALS, np.uint32))
    cliff = Cliff(numbers)
    if rng.random() < 0.3:
        state.gpr[6] = cliff.edge - 4 * int(rng.integers(0, writer.columns))
    else:
        state.gpr[7] = cliff.edge - 4 * int(rng.integers(0, 80))
    cliff.check(guest, state, "bf16")
    assert buffer.bytes() == unchanged


def test_where_loops_are_bounded() -> None:
    """Where every FMA adds to a sum 512 bits wide, under a short format of binary32's range, and flags are dead."""
    guest = Sums(5).write()
    for operator in OPERATORS:
        assert is_bounded(guest, operator)
    for operator in ("fp32", "mp", *OTHERS):
        assert emitted(guest, operator, lab.Limits(vector_slots=40)) == emitted(guest, operator, lab.Limits(passes=OFF, vector_slots=40))
    assert not is_bounded(guest, "bf16", lab.Limits(passes=OFF, vector_slots=40))
    assert not is_bounded(guest, "bf16", lab.Limits(loops=False, vector_slots=40))
    narrow = Sums(5, 256, 2, 6).write()
    assert is_bounded(narrow, "bf16")
    assert not is_bounded(narrow, "bf16", lab.Limits(passes=lab.ALL_PASSES & ~WIDEN, vector_slots=40))
    assert not is_bounded(narrow, "bf16", isa=lab.AVX2)
    assert not is_bounded(Sums(5, early=True).write(), "bf16")


def test_what_a_bounded_loop_may_hold() -> None:
    """Nothing that changes the rounding mode, nor a dot product that is rounded too."""
    somewhere = MemoryOperand(SUMS, displ=64, displ_size=8)
    dot = Instruction.create_reg_reg_mem(Code.EVEX_VDPBF16PS_ZMM_K1Z_ZMM_ZMMM512B32, vec(28, 512), vec(29, 512), somewhere)
    for inside, bounded in {
        Instruction.create_mem(Code.STMXCSR_M32, somewhere): True,
        Instruction.create_mem(Code.LDMXCSR_M32, somewhere): False,
        Instruction.create_mem(Code.VEX_VLDMXCSR_M32, somewhere): False,
        dot: False,
    }.items():
        writer = Sums(5)
        writer.inside = [inside]
        assert is_bounded(writer.write(), "bf16", lab.Limits(vector_slots=40, dot="e8m13,e8m13,e8m13,e8m13")) == bounded
    writer = Sums(5)
    writer.inside = [dot]
    assert is_bounded(writer.write(), "bf16")


@pytest.mark.parametrize(("rows", "columns", "multiplied"), [(2, 4, 6), (1, 20, 10)])
def test_how_sums_are_rounded(rows: int, columns: int, multiplied: int) -> None:
    """Half of them by multiplying where factors are few, three of four where they are many."""
    guest = Sums(5, rows=rows, columns=columns).write()
    assert emitted(guest, "bf16", lab.Limits(vector_slots=40)).count("vfnmadd213ps") == multiplied


WINDOW = range(1, 239)
"""Exponent fields of numbers that a bounded sum of BF16 can have."""


def by_adding(x: np.ndarray, mantissa_bits: int) -> np.ndarray:
    """NUMERICS aside, this is all: two additions in binary32."""
    v = (x.view(np.uint32) + np.uint32((23 - mantissa_bits) << 23)).view(np.float32)
    return (x - v) + v


def by_multiplying(x: np.ndarray, mantissa_bits: int) -> np.ndarray:
    """Two FMAs: what they round fits into binary64."""
    exact = x.astype(np.float64)
    v = exact * 2.0 ** (23 - mantissa_bits)
    u = (exact - v).astype(np.float32)
    return (u + v).astype(np.float32)


WAYS = [by_adding, by_multiplying]


def assert_rounds(way: Callable[[np.ndarray, int], np.ndarray], x: np.ndarray, mantissa_bits: int) -> None:
    assert np.array_equal(way(x, mantissa_bits).view(np.uint32), fase.round(x, f"e8m{mantissa_bits}").view(np.uint32))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mantissa_bits", range(1, 11))
def test_both_ways_round(way: Callable[[np.ndarray, int], np.ndarray], mantissa_bits: int) -> None:
    rng = np.random.default_rng(mantissa_bits)
    patterns = np.concatenate([rng.integers(0, 1 << 23, 4000), *(np.arange(-4, 5) + (k << 22 - mantissa_bits) for k in range(2 << mantissa_bits))])
    patterns = (patterns % (1 << 23)).astype(np.uint32)
    for exponent in (*WINDOW[:2], 100, 127, 200, 231 + mantissa_bits):
        for sign in (0, 1):
            assert_rounds(way, (patterns | np.uint32(sign << 31 | exponent << 23)).view(np.float32), mantissa_bits)


@pytest.mark.nightly
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mantissa_bits", range(1, 11))
def test_both_ways_round_every_number(way: Callable[[np.ndarray, int], np.ndarray], mantissa_bits: int) -> None:
    """All exponents are alike but for scale, and both signs: a whole binade at each end and in the middle, and zero."""
    mantissas = np.arange(1 << 23, dtype=np.uint32)
    for exponent in (1, 2, 127, 230 + mantissa_bits, 231 + mantissa_bits):
        for sign in (0, 1):
            assert_rounds(way, (mantissas | np.uint32(sign << 31 | exponent << 23)).view(np.float32), mantissa_bits)
    assert way(np.zeros(1, np.float32), mantissa_bits).view(np.uint32)[0] == 0
