"""Guest programs for the emitter's tests: random ones, an oracle that executes them one instruction at a time, and a small runtime.

The oracle runs every plain instruction natively by itself. An FMA it takes apart: operands are rounded here in NumPy, the CPU's own instruction
computes on them (so NaN propagation and {er} are the hardware's), and the result is rounded here. It shares no code with the emitter.
"""

from __future__ import annotations

import ctypes as ct
from dataclasses import dataclass, field

import lab
import numpy as np
from iced_x86 import Code, Decoder, Encoder, Instruction, OpKind, Register

import fase
from fase.formats.description import Grid, parse_format
from fase.formats.rounding import on_grid, round64_flat
from fase.operators import parse

COMPOUND = ["bf16-2_2-3", "bf16-1_2", "bf16-3_3-6", "e5m2-2_2-3"]
"""Operators of which the oracle does not take the instruction apart."""

R = Register
SIZES = {128: "XMM", 256: "YMM", 512: "ZMM"}
KINDS = ["FMADD", "FMSUB", "FNMADD", "FNMSUB", "FMADDSUB", "FMSUBADD"]
FLAGS = 0x8D5


def vec(n: int, bits: int) -> int:
    """iced's register for xmm/ymm/zmm number n."""
    return int(getattr(R, f"{SIZES[bits]}{n}"))


def number(register: int) -> int:
    """The number of a vector register of iced's."""
    return register - int(R.XMM0 if register < R.YMM0 else R.YMM0 if register < R.ZMM0 else R.ZMM0)


GPRS = [R.RAX, R.RCX, R.RDX, R.RBX, R.RSP, R.RBP, R.RSI, R.RDI, R.R8, R.R9, R.R10, R.R11, R.R12, R.R13, R.R14, R.R15]


def random_bits(seed: int, thread: int, count: int, bits: int) -> np.ndarray:
    """R of docs/operators.md for the 16 lanes, in plain integers."""
    golden, word = 0x9E3779B9, 0xFFFFFFFF

    def mix(z: int) -> int:
        z = (z ^ z >> 16) * 0x21F0AAAD & word
        return (z ^ z >> 15) * 0x735A2D97 & word

    keys = [mix(mix(seed + golden * (thread + 1) & word) + golden * (lane + 1) & word) for lane in range(16)]
    return np.array([mix(k + golden * count & word) >> 32 - bits for k in keys], np.uint32)


TABLES: dict[str, tuple[np.ndarray, np.ndarray]] = {}
"""Values and limits by key."""


def know_table(file: bytes) -> str:
    """Makes a table known to the emitter and to round_by_table; returns its key."""
    assert lab.add_table(file) == ""
    words = np.frombuffer(file[16:], np.float32)
    count = (words.size + 1) // 2
    TABLES[lab.table_key(file)] = words[:count], words[count:]
    return lab.table_key(file)


def round_by_table(x: np.ndarray, fmt: str) -> np.ndarray:
    """`t1/KEY/LETTERS`, as docs/operators.md has it."""
    _, key, letters = fmt.split("/")
    infinity, nan, zero = list(letters)
    values, limits = TABLES[key]
    with np.errstate(invalid="ignore"):
        number, sign = x.view(np.float32).astype(np.float64), x & np.uint32(0x80000000)
    found = values[np.searchsorted(limits.astype(np.float64), np.where(np.isnan(number), 0, number), side="right")]
    bits = found.view(np.uint32)
    if zero == "s":
        bits = np.where(found == 0, sign, bits)
    if infinity == "m":
        bits = np.where(np.isinf(number), np.where(sign > 0, values[:1], values[-1:]).view(np.uint32), bits)
    if infinity == "n":
        bits = np.where(np.isinf(number), sign | np.uint32(0x7FC00000), bits)
    quiet = {"n": x | np.uint32(0x00400000), "z": np.zeros_like(x), "m": np.full_like(x, values[-1:].view(np.uint32)[0])}[nan]
    return np.where(np.isnan(number), quiet, bits).astype(np.uint32)


def reference_round(x: np.ndarray, fmt: str, random: np.ndarray | None = None) -> np.ndarray:
    """uint32 lanes rounded to e8mY: nearest even, NaNs quieted and cut; to other formats, and uint64 lanes, as the package's reference says."""
    if x.dtype == np.uint64:
        grid = parse_format(fmt)
        assert isinstance(grid, Grid)
        rounded: np.ndarray = round64_flat(x.view(np.float64), grid).view(np.uint64)
        return rounded
    if fmt.startswith("t1/"):
        return round_by_table(x, fmt)
    if fmt.startswith("g1/"):
        grid = parse_format(fmt)
        assert isinstance(grid, Grid)
        with np.errstate(invalid="ignore"):
            single: np.ndarray = on_grid(x.view(np.float32).astype(np.float64), x.view(np.float32), grid, random).view(np.uint32)
            return single
    m = int(fmt.split("m")[1])
    if m == 23:
        return x.copy()
    sh = 23 - m
    wide = x.astype(np.uint64)
    keep = np.uint32(~((1 << sh) - 1) & 0xFFFFFFFF)
    up = (wide + ((wide >> np.uint64(sh)) & np.uint64(1)) + np.uint64((1 << (sh - 1)) - 1)).astype(np.uint32) & keep
    nan = (x & np.uint32(0x7FFFFFFF)) > 0x7F800000
    return np.where(nan, (x | np.uint32(0x400000)) & keep, up)


# ---- Encoding.


def encode(insn: Instruction, ip: int) -> bytes:
    e = Encoder(64)
    e.encode(insn, ip)
    return bytes(e.take_buffer())


def fma_code(form: str, kind: str, bits: int, scalar: bool, evex: bool, fp64: bool = False) -> int:
    t = ("S" if scalar else "P") + ("D" if fp64 else "S")
    name = f"V{kind}{form}{t}"
    if scalar:
        m = "M64" if fp64 else "M32"
        return int(getattr(Code, f"EVEX_{name}_XMM_K1Z_XMM_XMM{m}_ER" if evex else f"VEX_{name}_XMM_XMM_XMM{m}"))
    s = SIZES[bits]
    if not evex:
        return int(getattr(Code, f"VEX_{name}_{s}_{s}_{s}M{bits}"))
    b = "B64" if fp64 else "B32"
    return int(getattr(Code, f"EVEX_{name}_{s}_K1Z_{s}_{s}M{bits}{b}" + ("_ER" if bits == 512 else "")))


def with_mask(i: Instruction, k: int, z: bool) -> Instruction:
    if k:
        i.op_mask = R.K0 + k
        i.zeroing_masking = z
    return i


# ---- Programs.


@dataclass
class Guest:
    """Guest code by address; `entry` is where execution starts (an FMA)."""

    base: int
    code: bytes
    entry: int
    insns: dict[int, Instruction] = field(default_factory=dict)
    excluded: list[int] = field(default_factory=list)

    @classmethod
    def from_bytes(cls, code: bytes, entry_offset: int, excluded: list[int] | None = None) -> Guest:
        base = lab.place(code)
        g = cls(base, code, base + entry_offset, excluded=excluded or [])
        for i in Decoder(64, code, ip=base):
            g.insns[i.ip] = i.copy()
        return g

    @property
    def end(self) -> int:
        return self.base + len(self.code)


def is_fma(i: Instruction) -> bool:
    return any(str_name(i).startswith("V" + k) for k in KINDS)


_names: dict[int, str] = {v: k for k, v in vars(Code).items() if isinstance(v, int)}


def str_name(i: Instruction) -> str:
    return _names[i.code].split("_", 1)[-1]


def is_dot(i: Instruction) -> bool:
    return str_name(i).startswith("VDPBF16PS")


def is_bf16(i: Instruction) -> bool:
    return is_dot(i) or str_name(i).startswith(("VCVTNEPS2BF16", "VCVTNE2PS2BF16"))


def is_fp64(i: Instruction) -> bool:
    return str_name(i).split("_")[0].endswith("D")


CONDITIONS = {
    0x4: lambda f: bool(f & 0x40), 0x5: lambda f: not f & 0x40, 0x2: lambda f: bool(f & 1), 0x3: lambda f: not f & 1,
    0x8: lambda f: bool(f & 0x80), 0x9: lambda f: not f & 0x80, 0x6: lambda f: bool(f & 0x41), 0x7: lambda f: not f & 0x41,
}  # fmt: skip


class Oracle:
    """Executes a guest one instruction at a time under an operator."""

    def __init__(self, guest: Guest, operator: str, max_steps: int = 4000, dot: str = ""):
        single, _, double = operator.partition(";")
        self.g, self.formats, self.max_steps = guest, lab.spec(single).split(",")[:4], max_steps
        self.formats64 = double.split(",") if double else None
        self.compound = next((m for m in COMPOUND if parse(m).description.text == single), None)
        words = single.split(",")
        self.exact = "exact" in words
        self.seed = next((int(word[5:], 16) for word in words if word.startswith("seed=")), 0)
        self.thread = 0
        self.draws = 0
        self.executed = dict.fromkeys(lab.COUNTS, 0)
        self.dot = dot
        self.fault: int | None = None

    def emulates(self, i: Instruction) -> bool:
        return is_fma(i) and i.ip not in self.g.excluded and (not is_fp64(i) or self.formats64 is not None)

    def run(self, state: lab.State, at: int = 0) -> lab.State:
        """The state at the end, or where an instruction faulted. `at`: where to start, if not at the entry."""
        at = at or self.g.entry
        for _ in range(self.max_steps):
            if at == self.g.end:
                return state
            i = self.g.insns[at]
            if self.emulates(i):
                state = self._fma(i, state)
                at = i.next_ip
            elif is_dot(i) and self.dot and at not in self.g.excluded:
                state = self._dot(i, state)
                at = i.next_ip
            elif i.is_jcc_short_or_near:
                taken = CONDITIONS[self.g.code[at - self.g.base + (1 if i.len == 6 else 0)] & 15](state.rflags)
                at = i.near_branch_target if taken else i.next_ip
            elif i.is_jmp_short_or_near:
                at = i.near_branch_target
            else:
                if is_fma(i):
                    self.executed["fp64" if is_fp64(i) else "excluded"] += 1
                if is_bf16(i):
                    self.executed["dots" if is_dot(i) else "conversions"] += 1
                state = self._plain(i, state)
                at = i.next_ip
            if self.fault is not None:
                if is_fma(i) and not self.emulates(i):
                    self.executed["fp64" if is_fp64(i) else "excluded"] -= 1
                return state
        raise AssertionError("program does not end")

    def _plain(self, i: Instruction, state: lab.State) -> lab.State:
        offset = i.ip - self.g.base
        at = lab.place(self.g.code[offset : offset + i.len], offset)
        after, fault = lab.run(at, state)
        if fault.rip:
            self.fault = i.ip
        return after

    def _compound_fma(self, i: Instruction, state: lab.State, inputs: list[np.ndarray], active: np.ndarray, r0: int, bits: int) -> lab.State:
        """By the package's reference; flags stay."""
        name = str_name(i)
        order = {"132": (0, 2, 1), "213": (1, 0, 2), "231": (1, 2, 0)}[next(f for f in ("132", "213", "231") if f in name)]
        assert self.compound is not None
        a, b, c = (inputs[o].view(np.float32) for o in order)
        kind = name[1 : name.index(next(f for f in ("132", "213", "231") if f in name))]
        plus, minus = (fase.fma(a, b, c, self.compound, negate_product=kind.startswith("FN"), negate_addend=s).view(np.uint32) for s in (False, True))
        odd = np.arange(16) % 2 == 1
        subtract = {"FMADDSUB": ~odd, "FMSUBADD": odd}.get(kind, np.full(16, kind.endswith("SUB")))
        out = state.copy()
        old = out.lanes()[r0].copy()
        inactive = np.where(i.zeroing_masking, np.uint32(0), old)
        if name.split("_")[0].endswith("SS"):
            inactive = np.where(np.arange(16) == 0, inactive, old)
        merged = np.where(active, np.where(subtract, minus, plus), inactive)
        out.lanes()[r0] = np.where(np.arange(16) < bits // 32, merged, 0)
        self.executed["emulated"] += 1
        return out

    def _dot(self, i: Instruction, state: lab.State) -> lab.State:
        """By the package's reference."""
        bits = next(b for b, s in SIZES.items() if str_name(i).split("_")[1] == s)
        out, n, old = state.copy(), bits // 32, state.lanes()[number(i.op0_register)]
        if i.op2_kind == OpKind.MEMORY:
            probe = self._plain(i, state.copy())
            if self.fault is not None:
                return probe
        op2 = self._memory(i, state, False, bits) if i.op2_kind == OpKind.MEMORY else state.lanes()[number(i.op2_register)]
        a, b = (np.ascontiguousarray(x).view(np.uint16).astype(np.uint32) << np.uint32(16) for x in (state.lanes()[number(i.op1_register)], op2))
        d = fase.dpbf16(a.view(np.float32), b.view(np.float32), old.view(np.float32), self.dot).view(np.uint32)
        k = i.op_mask - R.K0 if i.op_mask != R.NONE else 0
        active = np.array([(state.opmask[k] >> j) & 1 if k else 1 for j in range(16)], bool)
        merged = np.where(active, d, np.uint32(0) if i.zeroing_masking else old)
        out.lanes()[number(i.op0_register)] = np.where(np.arange(16) < n, merged, 0)
        self.executed["dots_emulated"] += 1
        return out

    def _with_rounding(self, at: int, state: lab.State, control: int) -> np.ndarray:
        work = state.copy()
        work.mxcsr = 0x1F80 | control
        row: np.ndarray = lab.run(at, work)[0].lanes()[0]
        return row.copy()

    def _memory(self, i: Instruction, state: lab.State, scalar: bool, bits: int, word: type = np.uint32) -> np.ndarray:
        base = 0 if i.is_ip_rel_memory_operand else state.gpr[GPRS.index(i.memory_base)]
        index = state.gpr[GPRS.index(i.memory_index)] * i.memory_index_scale if i.memory_index != R.NONE else 0
        at = (base + index + i.memory_displacement) & (2**64 - 1)
        size = np.dtype(word).itemsize
        out: np.ndarray = np.zeros(64 // size, word)
        count = 1 if scalar else bits // (8 * size)
        if scalar or i.is_broadcast:
            out[:count] = np.frombuffer(ct.string_at(at, size), word)
        else:
            out[:count] = np.frombuffer(ct.string_at(at, bits // 8), word)
        return out

    def _fma(self, i: Instruction, state: lab.State) -> lab.State:
        name = str_name(i)
        double = is_fp64(i)
        word, width = (np.uint64, 64) if double else (np.uint32, 32)
        scalar = name.split("_")[0][-2] == "S"
        bits = 128 if scalar else next(b for b, s in SIZES.items() if name.split("_")[1] == s)
        n, total = 1 if scalar else bits // width, 512 // width
        formats = self.formats64 if double else self.formats
        assert formats is not None
        fa, fb, fc, fd = formats
        form = next(f for f in ("132", "213", "231") if f in name)
        roles = {"132": (fa, fc, fb), "213": (fb, fa, fc), "231": (fc, fa, fb)}[form]
        lanes = state.lanes64() if double else state.lanes()
        r0, r1 = number(i.op0_register), number(i.op1_register)
        k = i.op_mask - R.K0 if i.op_mask != R.NONE else 0
        mask = np.array([(state.opmask[k] >> j) & 1 if k else 1 for j in range(total)], bool)
        memory = i.op2_kind == OpKind.MEMORY
        # Does it fault? The instruction itself knows.
        if memory:
            probe = self._plain(i, state.copy())
            if self.fault is not None:
                return probe
        op2 = self._memory(i, state, scalar, bits, word) if memory else lanes[number(i.op2_register)].copy()
        inputs = [lanes[r0].copy(), lanes[r1].copy(), op2]
        active = mask & (np.arange(total) < n)
        if self.compound and not double:
            return self._compound_fma(i, state, inputs, active, r0, bits)
        random: list[np.ndarray | None] = []  # of a, b, c, d
        for fmt in formats:
            stochastic = fmt.rpartition("/sr")[2] if "/sr" in fmt else ""
            self.draws += bool(stochastic)
            random.append(random_bits(self.seed, self.thread, self.draws, int(stochastic)) if stochastic else None)
        order = {"132": (0, 2, 1), "213": (1, 0, 2), "231": (2, 0, 1)}[form]  # the role of each operand
        inputs = [np.where(active, reference_round(x, roles[o], random[order[o]]), x) for o, x in enumerate(inputs)]
        exact = self.exact and not double
        bare = Instruction.create_reg_reg_reg(i.code, vec(0, bits), vec(1, bits), vec(2, bits))
        with_mask(bare, k, i.zeroing_masking)
        bare.rounding_control = 0 if exact else i.rounding_control
        work = state.copy()
        for o in range(3):
            work.lanes()[o] = inputs[o].view(np.uint32)
        at = lab.place(encode(bare, self.g.base), 0)
        after, _ = lab.run(at, work)
        raw = after.lanes()[0].copy().view(word)
        if exact:  # to odd, without a trace in MXCSR
            down, up = (self._with_rounding(at, work, rc) for rc in (0x2000, 0x4000))
            raw = np.where(active, np.where(down & 1, down, up), raw)
            after.mxcsr = state.mxcsr
        out = state.copy()
        out.lanes()[r0] = np.where(active, reference_round(raw, fd, random[3]), raw).view(np.uint32)
        out.mxcsr = after.mxcsr
        self.executed["fp64_emulated" if double else "emulated"] += 1
        return out


def emulate(
    guest: Guest, state: lab.State, operator: str, isa: int, limits: lab.Limits, max_regions: int = 2000, chunked: list[int] | None = None
) -> tuple[lab.State, lab.Fault, dict[str, int]]:
    """As the runtime does: every FMA is a site; reaching one compiles and runs its region. Returns state, fault, counts.

    `chunked` is filled with the numbers of FMAs whose sums went to totals, whole segments, by region entered.
    """
    executed = dict.fromkeys(lab.COUNTS, 0)
    limits.excluded = guest.excluded
    patched = bytearray(guest.code)
    for at, i in guest.insns.items():
        if is_fma(i) or is_bf16(i):
            o = at - guest.base
            patched[o : o + i.len] = b"\x0f\x0b" + b"\x90" * (i.len - 2)
    regions: dict[int, int] = {}
    at = guest.entry
    for _ in range(max_regions):
        lab.place(guest.code)
        t = lab.translate(at, operator, isa, limits)
        assert t.status == lab.OK, (t.status, hex(at))
        regions[at] = t.size
        lab.place(bytes(patched))
        counts = lab.counters(reset=True)
        state, fault = lab.run(t.code, state)
        for s in range(t.segments):
            for kind in executed:
                executed[kind] += int(counts[limits.first_counter + s]) * getattr(t.segment[s], kind)
        if chunked is not None:
            chunked.append(sum(int(counts[limits.first_counter + s]) * t.segment[s].chunked for s in range(t.segments)))
        site = guest.insns.get(fault.rip)
        if site is None or not (is_fma(site) or is_bf16(site)):
            break
        at = fault.rip
    else:
        raise AssertionError("does not end")
    for kind in executed:
        executed[kind] -= getattr(fault, f"not_{kind}")
    lab.place(guest.code)
    return state, fault, executed


def differences(x: lab.State, y: lab.State, vectors: int = 32) -> list[str]:
    out = []
    a, b = x.lanes(), y.lanes()
    width = 16 if lab.HAS_AVX512 else 8
    for r in range(vectors):
        if (a[r, :width] != b[r, :width]).any():
            j = int(np.nonzero(a[r] != b[r])[0][0])
            out.append(f"zmm{r} lane {j}: {a[r, j]:08x} {b[r, j]:08x}")
    out += [f"k{i}: {x.opmask[i]:x} {y.opmask[i]:x}" for i in range(8) if x.opmask[i] != y.opmask[i]]
    out += [f"gpr{i}: {x.gpr[i]:x} {y.gpr[i]:x}" for i in range(16) if x.gpr[i] != y.gpr[i] and i != 4]
    if (x.rflags ^ y.rflags) & FLAGS:
        out.append(f"flags: {x.rflags & FLAGS:x} {y.rflags & FLAGS:x}")
    if x.mxcsr != y.mxcsr:
        out.append(f"mxcsr: {x.mxcsr:x} {y.mxcsr:x}")
    return out


SPECIALS = np.array(
    [0, 0x80000000, 1, 0x807FFFFF, 0x00800000, 0x3F800000, 0xBF808000, 0x3F818000, 0x3F817FFF, 0x3F818001, 0x7F7FFFFF, 0xFF7FFFFF,
     0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFBFFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F80FFFF, 0x7FC07FFF, 0x00008000,
     0x00018000, 0x00007FFF],
    np.uint32,
)  # fmt: skip


def random_values(rng: np.random.Generator, n: int) -> np.ndarray:
    """Mostly ordinary numbers, some special, some any bits."""
    x = (rng.standard_normal(n) * np.exp2(rng.integers(-3, 4, n))).astype(np.float32).view(np.uint32)
    pick = rng.random(n)
    x = np.where(pick < 0.12, rng.choice(SPECIALS, n), x)
    return np.where(pick > 0.93, rng.integers(0, 2**32, n, dtype=np.uint64).astype(np.uint32), x)


class Buffer:
    """Memory the guests read and write."""

    def __init__(self, rng: np.random.Generator, size: int = 4096):
        self.initial = random_values(rng, size // 4).tobytes()
        self.raw = ct.create_string_buffer(size + 64)
        self.at = (ct.addressof(self.raw) + 63) & ~63
        self.size = size
        self.reset()

    def reset(self) -> None:
        ct.memmove(self.at, self.initial, self.size)

    def bytes(self) -> bytes:
        return ct.string_at(self.at, self.size)


def random_state(rng: np.random.Generator, buffer: Buffer, wide: bool) -> lab.State:
    s = lab.State()
    s.lanes()[:] = random_values(rng, 512).reshape(32, 16)
    if not wide and not lab.HAS_AVX512:
        s.lanes()[:, 8:] = 0
    for k in range(8):
        s.opmask[k] = int(rng.integers(0, 2**63)) if lab.HAS_AVX512 else 0
    for g in range(16):
        s.gpr[g] = int(rng.integers(0, 2**62))
    s.gpr[4] = 0
    s.gpr[7], s.gpr[6] = buffer.at + 1024, buffer.at + 2048
    s.gpr[1] = int(rng.integers(1, 5))  # loop counter
    s.gpr[8] = int(rng.integers(0, 32))
    s.rflags = 0x202 | int(rng.integers(0, 4096)) & FLAGS
    s.mxcsr = 0x1F80 | int(rng.choice([0, 0, 0x2000, 0x4000, 0x6000]))
    return s
