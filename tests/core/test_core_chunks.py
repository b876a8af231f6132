"""Chunked accumulation: in loops, emitted code adds up as the oracle does, one accumulation after the other."""

from __future__ import annotations

from dataclasses import dataclass

import guest as guests
import lab
import numpy as np
import programs
import pytest
from iced_x86 import Code, Instruction, InstructionInfoFactory, MemoryOperand, OpKind
from test_core_faults import STRICT

from fase.operators import parse
from fase.operators.accumulate import promoted

R = guests.R
FORMATS = ["bf16", "e4m3fn", "e5m2", "e4m3fnuz", "e8m13", "bf16,exact", "a=e4m3,b=e5m2,c=e8m13,d=e8m13", "a=fp32,b=fp32,c=fp32,d=fp16"]
CHUNKS = [1, 2, 3, 4, 5, 7, 8, 12, 100]


class Summing(programs.Writer):
    """A loop that adds products to registers 10 and up, among instructions that use those below; some of the sums are used otherwise as well."""

    def __init__(self, rng: np.random.Generator, evex: bool, exits: float, sums: int, most: int, poisoned: bool = False):
        super().__init__(rng, programs.Shape(evex=evex, registers=10, exits=0, fp64=0, fma=0.3, stores=rng.random() < 0.5))
        self.side_exits, self.sums, self.most, self.poisoned = exits, sums, most, poisoned
        self.head = 0

    def plain(self) -> None:
        """Addresses stay: in so many passes they would leave the buffer."""
        super().plain()
        if self.items[-1][0] == "insn" and self.items[-1][1].code == Code.LEA_R64_M:
            self.items.pop()

    def accumulation(self, r: int) -> None:
        rng = self.rng
        bits, scalar = self.width[r]
        evex = self.s.evex and (bits == 512 or r >= 16 or self.chance(0.5))
        code = guests.fma_code("231", self.kind[r], bits, scalar, evex)
        registers = [guests.vec(r, bits), guests.vec(int(rng.integers(10)), bits)]
        if self.chance(0.4):
            self.add(Instruction.create_reg_reg_mem(code, *registers, self.mem(evex and not scalar and self.chance(0.5))))
        else:
            self.add(Instruction.create_reg_reg_reg(code, *registers, guests.vec(int(rng.integers(10)), bits)))

    def spoil(self, r: int) -> None:
        """Register r is no accumulator after all."""
        bits, scalar = self.width[r]
        other = guests.vec(int(self.rng.integers(10)), bits)
        pick = int(self.rng.integers(3))
        if pick == 0:
            code = guests.fma_code("213", "FMADD", bits, scalar, self.s.evex)
            self.add(Instruction.create_reg_reg_reg(code, guests.vec(r, bits), other, other))
        elif pick == 1:
            code = guests.fma_code("231", "FMSUB", bits, scalar, self.s.evex)
            self.add(Instruction.create_reg_reg_reg(code, guests.vec(r, bits), other, other))
        else:
            size = guests.SIZES[bits]
            code = getattr(Code, f"EVEX_VMOVAPS_{size}_K1Z_{size}M{bits}" if self.s.evex else f"VEX_VMOVAPS_{size}_{size}M{bits}")
            self.add(Instruction.create_reg_reg(code, other, guests.vec(r, bits)))

    def write(self) -> guests.Guest:
        rng = self.rng
        top = 32 if self.s.evex else 16
        used = [int(r) for r in rng.permutation(np.arange(10, top))[: self.sums]]
        self.width = {r: (128, True) if self.chance(0.15) else (self.bits(), False) for r in used}
        self.kind = {r: "FNMADD" if self.chance(0.2) else "FMADD" for r in used}
        for _ in range(int(rng.integers(0, 4))):
            self.step()
        self.head = len(self.items)
        times = {r: int(rng.choice([1, 1, 2, 3, 4, 8, self.most])) for r in used}
        spoilt = {r for r in used if self.chance(0.1)}
        order = [r for r in used for _ in range(times[r])]
        rng.shuffle(order)
        seen = set[int]()
        bad = int(rng.integers(len(order))) if self.poisoned else -1
        for n, r in enumerate(order):
            if n == bad:
                self.add(Instruction.create_reg_mem(Code.MOV_R64_RM64, R.R9, MemoryOperand(R.R13, R.RCX, 8)))
                self.add(Instruction.create_reg_mem(Code.MOV_R64_RM64, R.R9, MemoryOperand(R.R9)))
            self.accumulation(r)
            seen.add(r)
            if self.chance(0.4):
                self.plain() if self.chance(0.8) else self.fma()
            if self.chance(self.side_exits):
                self.items.append(("exit", int(rng.choice(list(guests.CONDITIONS)))))
        for r in spoilt:
            self.spoil(r)
        self.add(Instruction.create_reg(Code.DEC_RM64, R.RCX))
        if self.chance(0.3):
            self.accumulation(used[0])  # between the flags and their use
        self.back = len(self.items)
        self.items.append(("back", 5))
        for _ in range(int(rng.integers(0, 3))):
            self.step()
        self.add(Instruction.create_reg_reg_reg(guests.fma_code("231", "FMADD", 256, False, False), *(guests.vec(r, 256) for r in (1, 2, 3))))
        return self.assemble(0)

    def assemble(self, entry_item: int) -> guests.Guest:
        g = super().assemble(entry_item)
        at = sorted(g.insns)  # one instruction an item
        self.loop = range(at[self.head], at[self.back] + 1)
        code = bytearray(g.code)
        end = at[self.back] - g.base + 6
        code[end - 4 : end] = (at[self.head] - g.base - end).to_bytes(4, "little", signed=True)  # not to the program's start
        excluded = g.excluded
        g = guests.Guest.from_bytes(bytes(code), 0, excluded)
        first = next(a for a in sorted(g.insns) if guests.is_fma(g.insns[a]))
        return guests.Guest.from_bytes(bytes(code), first - g.base, excluded)


@dataclass
class Sum:
    lanes: int
    total: np.ndarray
    count: int = 0


class ChunkOracle(guests.Oracle):
    """Keeps totals of the loop's accumulators from the first FMA in it until control leaves it."""

    def __init__(self, guest: guests.Guest, operator: str, chunk: int, empty: int, loop: range):
        super().__init__(guest, operator, max_steps=20000)
        self.chunk, self.empty, self.loop = chunk, np.uint32(empty), loop
        self.sums: dict[int, Sum] = {}
        self.inside = False
        self.chunked = 0
        self.accumulators = self._find()

    def _find(self) -> dict[int, int]:
        """Accumulators and their lanes: what iced says the loop's instructions use."""
        factory = InstructionInfoFactory()
        shapes: dict[int, set[tuple[int, bool]]] = {}
        spoilt, left = set(), False
        order = [self.g.insns[a] for a in sorted(self.g.insns) if a in self.loop]
        first = next(n for n, i in enumerate(order) if guests.is_fma(i))
        for i in order[first:] + order[:first]:
            left |= i.is_jcc_short_or_near
            name = guests.str_name(i)
            fits = self.emulates(i) and name.split("_")[0][:-2] in ("VFMADD231", "VFNMADD231") and i.op_mask == R.NONE
            target = guests.number(i.op0_register) if guests.is_fma(i) else -1
            for u in factory.info(i).used_registers():
                if not R.XMM0 <= u.register <= R.ZMM31:
                    continue
                r = (u.register - R.XMM0) % 32
                own = fits and r == target
                if not own or (left and r not in shapes):
                    spoilt.add(r)
                if own:
                    scalar = name.split("_")[0].endswith("SS")
                    lanes = 1 if scalar else next(b for b, s in guests.SIZES.items() if name.split("_")[1] == s) // 32
                    shapes.setdefault(r, set()).add((lanes, scalar))
            if fits:
                sources = [i.op1_register] + ([i.op2_register] if i.op2_kind == OpKind.REGISTER else [])
                spoilt |= {guests.number(s) for s in sources} & {target}
        return {r: next(iter(found))[0] for r, found in shapes.items() if r not in spoilt and len(found) == 1}

    def _begin(self, i: Instruction, state: lab.State) -> None:
        if i.ip not in self.loop:
            self.finish(state)
        elif not self.inside and guests.is_fma(i):
            self.inside = True
            for r, n in self.accumulators.items():
                self.sums[r] = Sum(n, state.lanes()[r, :n].copy())
                state.lanes()[r, :n] = self.empty

    def finish(self, state: lab.State) -> None:
        for r, s in self.sums.items():
            part = state.lanes()[r, : s.lanes]
            part[:] = promoted(s.total.view(np.float32), part.view(np.float32)).view(np.uint32)
        self.sums, self.inside = {}, False

    def _plain(self, i: Instruction, state: lab.State) -> lab.State:
        self._begin(i, state)
        return super()._plain(i, state)

    def _fma(self, i: Instruction, state: lab.State) -> lab.State:
        self._begin(i, state)
        out = super()._fma(i, state)
        r = guests.number(i.op0_register)
        if self.fault is None and r in self.sums:
            s, part = self.sums[r], out.lanes()[r, : self.sums[r].lanes]
            s.count += 1
            self.chunked += 1
            if s.count % self.chunk == 0:
                s.total = promoted(s.total.view(np.float32), part.view(np.float32)).view(np.uint32)
                part[:] = self.empty
        return out


def check(seed: int, isa: int, poisoned: bool = False, most: int = 0) -> None:
    """`most`: accumulations of a register in one pass, at least in some."""
    rng = np.random.default_rng(seed)
    evex = isa == lab.AVX512 and rng.random() < 0.7
    sums = int(rng.choice([1, 2, 4, 6] if not evex else [1, 3, 8, 20]))
    writer = Summing(rng, evex, 0 if most else float(rng.choice([0, 0, 0.03])), sums, most or int(rng.choice([5, 6, 10])), poisoned)
    guest = writer.write()
    buffer = guests.Buffer(rng)
    state = guests.random_state(rng, buffer, isa == lab.AVX512)
    state.lanes()[10:] = np.where(rng.random((22, 16)) < 0.9, rng.normal(size=(22, 16)).astype(np.float32).view(np.uint32), state.lanes()[10:])
    if isa == lab.AVX2:
        state.lanes()[:, 8:] = 0
    state.gpr[1] = int(rng.choice([1, 2, 3] if most else [1, 2, 3, 7, 20]))
    passes = int(rng.integers(1, state.gpr[1] + 1))  # the last points nowhere
    pointers = np.full(32, state.gpr[13], np.uint64)
    pointers[state.gpr[1] - passes + 1] = 0x10
    state.gpr[13], pointers[pointers != 0x10] = pointers.ctypes.data, pointers.ctypes.data
    operator = parse(f"{rng.choice(FORMATS)},chunk={rng.choice(CHUNKS)}")
    description = operator.description
    limits = lab.Limits(vector_slots=40)
    if poisoned:
        limits.passes = STRICT
    elif rng.random() < 0.4:
        limits.passes = int(rng.choice([0, *(lab.ALL_PASSES & ~(1 << b) for b in range(8)), *(1 << b for b in range(8))]))
    if rng.random() < 0.3:
        limits.scratch_registers = int(rng.integers(0, 12))
    base = ",".join(w for w in description.text.split(",") if not w.startswith("chunk="))

    oracle = ChunkOracle(guest, base, operator.chunk, 0x80000000 if description.d.signed_zero else 0, writer.loop)
    expected = oracle.run(state.copy())
    oracle.finish(expected)
    memory = buffer.bytes()
    buffer.reset()
    chunked: list[int] = []
    got, fault, executed = guests.emulate(guest, state.copy(), description.text, isa, limits, chunked=chunked)
    assert (fault.guest_rip if fault.rip else None) == oracle.fault
    if poisoned:  # lanes that every instruction clears may show so before the first
        for r, n in oracle.accumulators.items():
            got.lanes()[r, max(n, 4) :] = expected.lanes()[r, max(n, 4) :]
    assert guests.differences(expected, got) == [], (operator.name, limits)
    assert buffer.bytes() == memory
    assert executed == oracle.executed
    assert fault.rip or sum(chunked) == oracle.chunked


@pytest.mark.parametrize("isa", lab.ISAS)
@pytest.mark.parametrize("seed", range(2000, 2008))
def test_long_loops(seed: int, isa: int) -> None:
    """Longer than a region is otherwise."""
    if isa == lab.AVX512 and not lab.HAS_AVX512:
        pytest.skip("no AVX-512 here")
    check(seed, isa, most=200)


@pytest.mark.parametrize("isa", lab.ISAS)
@pytest.mark.parametrize("seed", range(1000, 1060))
def test_faults_show_whole_sums(seed: int, isa: int) -> None:
    if isa == lab.AVX512 and not lab.HAS_AVX512:
        pytest.skip("no AVX-512 here")
    check(seed, isa, poisoned=True)


@pytest.mark.parametrize("isa", lab.ISAS)
@pytest.mark.parametrize("seed", range(100))
def test_loops_add_up_in_chunks(seed: int, isa: int) -> None:
    if isa == lab.AVX512 and not lab.HAS_AVX512:
        pytest.skip("no AVX-512 here")
    check(seed, isa)


FMA, OTHER_FMA = "c4e275b8c2", "c4e275b8da"  # vfmadd231ps ymm0 and ymm3, ymm1, ymm2
COMPARE, DECREASE = "4839c8", "48ffc9"  # cmp rax, rcx; dec rcx


@pytest.mark.parametrize("isa", lab.ISAS)
@pytest.mark.parametrize(
    ("code", "chunked"),
    [
        (f"{FMA} {DECREASE} 75f6", 1),  # a plain loop
        (f"{FMA} {COMPARE} 740a {DECREASE} 75f1 {OTHER_FMA}", 1),  # a way out
        (f"{FMA} {COMPARE} 7405 {OTHER_FMA} {DECREASE} 75ec", 0),  # an FMA is jumped over
        (f"{FMA} {COMPARE} 7407 {DECREASE} 75f1 eb02 ebf7", 0),  # the way back is behind the loop
        (f"{FMA} {COMPARE} 74f6 {DECREASE} 75f1", 0),  # two ways to the head
        (f"c5fc57c0 {FMA} {DECREASE} 75f6 48c7c102000000 48ffca 75e8", 1),  # the inner of two loops
    ],
)
def test_loops_with_several_ways_round(code: str, chunked: int, isa: int) -> None:
    """They would end a chunk wherever they branch, so they have no totals, and say so."""
    if isa == lab.AVX512 and not lab.HAS_AVX512:
        pytest.skip("no AVX-512 here")
    guest = guests.Guest.from_bytes(bytes.fromhex(code), 0)
    entry = next(at for at, i in guest.insns.items() if guests.is_fma(i))
    t = lab.translate(entry, "e8m7,e8m7,e8m7,e8m7,chunk=4", isa, lab.Limits(vector_slots=40))
    assert t.status == lab.OK
    assert sum(t.segment[s].chunked for s in range(t.segments)) == chunked
