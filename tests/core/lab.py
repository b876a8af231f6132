"""libfase_lab through ctypes: compile guest code with the real emitter and run it on a full register state."""

from __future__ import annotations

import ctypes as ct
import hashlib
from dataclasses import dataclass, field

import numpy as np

from fase.agent import locate
from fase.machine import cpu

AVX2, AVX512 = 0, 1
ISAS = (AVX2, AVX512)
ALL_PASSES = 0xFFFFFFFF
OK = 0
COUNTS = ("emulated", "excluded", "fp64", "fp64_emulated", "dots_emulated", "dots", "conversions")
"""What a segment counts."""


class State(ct.Structure):
    _fields_ = [
        ("vector", ct.c_uint8 * 64 * 32),
        ("opmask", ct.c_uint64 * 8),
        ("gpr", ct.c_uint64 * 16),
        ("rflags", ct.c_uint64),
        ("mxcsr", ct.c_uint32),
        ("reserved", ct.c_uint32),
    ]

    def lanes(self) -> np.ndarray:
        """The vector registers as a (32, 16) view of 32-bit lanes."""
        return np.frombuffer(self.vector, dtype=np.uint32).reshape(32, 16)

    def lanes64(self) -> np.ndarray:
        """The vector registers as a (32, 8) view of 64-bit lanes."""
        return np.frombuffer(self.vector, dtype=np.uint64).reshape(32, 8)

    def copy(self) -> State:
        return State.from_buffer_copy(self)


class Options(ct.Structure):
    _fields_ = [
        ("operator_spec", ct.c_char_p),
        ("isa", ct.c_int),
        ("spill512", ct.c_int),
        ("instructions", ct.c_uint32),
        ("fmas", ct.c_uint32),
        ("scratch_registers", ct.c_uint32),
        ("loops", ct.c_uint32),
        ("side_exits", ct.c_uint32),
        ("passes", ct.c_uint32),
        ("vector_slots", ct.c_uint32),
        ("first_counter", ct.c_uint32),
        ("excluded", ct.POINTER(ct.c_uint64)),
        ("excluded_count", ct.c_size_t),
        ("dot_spec", ct.c_char_p),
    ]


class Segment(ct.Structure):
    _fields_ = [(n, ct.c_uint32) for n in (*COUNTS, "instructions", "chunked", "bounded", "unbounded")]


class Translation(ct.Structure):
    _fields_ = [
        ("status", ct.c_int),
        ("code", ct.c_uint64),
        ("size", ct.c_size_t),
        ("segments", ct.c_uint32),
        ("marks", ct.c_uint32),
        ("extents", ct.c_uint32),
        ("segment", Segment * 64),
        ("extent", ct.c_uint64 * 2 * 16),
    ]


class Fault(ct.Structure):
    _fields_ = [
        ("rip", ct.c_uint64),
        ("guest_rip", ct.c_uint64),
        ("address", ct.c_uint64),
        *((f"not_{n}", ct.c_uint32) for n in COUNTS),
        ("counter_faults", ct.c_uint32),
    ]


class Insn(ct.Structure):
    _fields_ = [
        (n, ct.c_uint32)
        for n in (
            *("length", "flow", "encoding", "vector_bits", "reads_vectors", "writes_vectors", "kills_vectors"),
            *("reads_gprs", "writes_gprs", "kills_gprs", "reads_opmasks", "writes_opmasks", "flags_read", "flags_written", "flags_killed"),
            *("bf16", "fma", "form", "kind", "fp64", "scalar", "mask", "zeroing", "broadcast", "embedded_rounding"),
            *("memory", "memory_bytes", "memory_reads", "memory_writes", "memory_base", "memory_index", "memory_scale"),
        )
    ] + [("memory_disp", ct.c_int64), ("target", ct.c_uint64)]


class Operand(ct.Structure):
    _fields_ = [(n, ct.c_int) for n in ("memory", "broadcast", "reg", "base", "index", "scale", "segment")] + [("disp", ct.c_int64)]


lib = ct.CDLL(str(locate.library(locate.LAB)))  # FASE_NATIVE_DIR names another build than the installed one
lib.fase_lab_guest.restype = ct.c_uint64
lib.fase_lab_guest.argtypes = [ct.c_char_p, ct.c_size_t, ct.c_size_t]
lib.fase_lab_translate.argtypes = [ct.c_uint64, ct.POINTER(Options), ct.POINTER(Translation)]
lib.fase_lab_run.argtypes = [ct.c_uint64, ct.POINTER(State), ct.POINTER(Fault)]
lib.fase_lab_counters.restype = ct.POINTER(ct.c_uint64)
lib.fase_lab_translate_ns.restype = ct.c_double
lib.fase_lab_translate_ns.argtypes = [ct.c_uint64, ct.POINTER(Options), ct.c_int]
lib.fase_lab_decode.argtypes = [ct.c_char_p, ct.c_size_t, ct.c_uint64, ct.POINTER(Insn)]
lib.fase_lab_assemble.restype = ct.c_size_t
lib.fase_lab_assemble.argtypes = [
    ct.c_char_p, ct.c_int, ct.c_int, ct.c_int, ct.POINTER(Operand), ct.c_int, ct.c_int, ct.c_int, ct.c_int, ct.c_uint64, ct.c_char_p,
]  # fmt: skip
_floats = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
lib.fase_lab_fma.argtypes = [ct.c_char_p, ct.c_int, ct.c_int, _floats, _floats, _floats, _floats, ct.c_size_t]
_doubles = np.ctypeslib.ndpointer(np.float64, flags="C_CONTIGUOUS")
lib.fase_lab_fma64.argtypes = [ct.c_char_p, ct.c_int, ct.c_int, _doubles, _doubles, _doubles, _doubles, ct.c_size_t]
lib.fase_lab_round64.argtypes = [ct.c_char_p, ct.c_int, _doubles, _doubles, ct.c_size_t]
lib.fase_lab_round.argtypes = [ct.c_char_p, ct.c_int, ct.c_int, _floats, _floats, ct.c_size_t]
_words = np.ctypeslib.ndpointer(np.uint32, flags="C_CONTIGUOUS")
lib.fase_lab_round_randomly.argtypes = [ct.c_char_p, ct.c_int, _floats, _words, _floats, ct.c_size_t]
lib.fase_lab_table.restype = ct.c_char_p
lib.fase_lab_table.argtypes = [ct.c_char_p, ct.c_char_p, ct.c_size_t]
lib.fase_lab_random.restype = ct.POINTER(ct.c_uint32)
lib.fase_lab_random.argtypes = [ct.c_uint32, ct.c_uint32]

HAS_AVX512 = bool(lib.fase_lab_machine() & 2)
HAS_BF16 = HAS_AVX512 and "avx512_bf16" in cpu().flags


def spec(mode: str) -> str:
    """An operator by a short name: bf16, mp, fp32, tf32, or a,b,c,d; for double precision, its own part follows a semicolon."""
    mode, semicolon, double = mode.partition(";")
    if semicolon:
        return f"{spec(mode)};{double}"
    f = {"bf16": "e8m7", "tf32": "e8m10", "fp32": "e8m23"}
    if mode == "mp":
        return "e8m7,e8m7,e8m23,e8m23"
    return ",".join([f[mode]] * 4) if mode in f else mode


@dataclass
class Limits:
    instructions: int = 1024
    fmas: int = 512
    scratch_registers: int = 32
    loops: bool = True
    side_exits: bool = True
    passes: int = ALL_PASSES
    vector_slots: int = 14
    spill512: int = -1
    excluded: list[int] = field(default_factory=list)
    first_counter: int = 0
    dot: str = ""
    """The operator of VDPBF16PS; empty: it runs as it is."""

    def options(self, operator_spec: str, isa: int) -> Options:
        excluded = (ct.c_uint64 * max(1, len(self.excluded)))(*self.excluded)
        o = Options(
            operator_spec.encode(), isa, self.spill512, self.instructions, self.fmas, self.scratch_registers, self.loops,
            self.side_exits, self.passes, self.vector_slots, self.first_counter, excluded, len(self.excluded),
            spec(self.dot).encode() if self.dot else None,
        )  # fmt: skip
        o.keep = excluded
        return o


def place(code: bytes, offset: int = 0) -> int:
    at = int(lib.fase_lab_guest(code, len(code), offset))
    assert at
    return at


def guest_base() -> int:
    return place(b"", 0)


def translate(entry: int, mode: str, isa: int, limits: Limits | None = None) -> Translation:
    out = Translation()
    lib.fase_lab_translate(entry, (limits or Limits()).options(spec(mode), isa), out)
    return out


def run(address: int, state: State) -> tuple[State, Fault]:
    """A copy of `state` after running from `address`, and what fault ended the run (rip 0: none)."""
    after, fault = state.copy(), Fault()
    lib.fase_lab_run(address, after, fault)
    return after, fault


def counters(reset: bool = False, forget: bool = False) -> np.ndarray:
    return np.ctypeslib.as_array(lib.fase_lab_counters(int(reset), int(forget)), (4096,))


def fma(mode: str, isa: int, form: int, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    d = np.empty_like(a)
    assert lib.fase_lab_fma(spec(mode).encode(), isa, form, a, b, c, d, a.size) == 0
    return d


def round_to(fmt: str, isa: int, x: np.ndarray, nan_fix: bool = True, in_place: bool = False, finite: bool = False) -> np.ndarray:
    out = np.empty_like(x)
    assert lib.fase_lab_round(fmt.encode(), isa, nan_fix | in_place << 1 | finite << 2, x, out, x.size) == 0
    return out


def round_randomly(fmt: str, isa: int, x: np.ndarray, random: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    assert lib.fase_lab_round_randomly(fmt.encode(), isa, x, random, out, x.size) == 0
    return out


def add_table(file: bytes) -> str:
    """Gives the emitter a table; returns what is wrong with it. Its key is that of docs/operators.md."""
    problem = lib.fase_lab_table(table_key(file).encode(), file, len(file))
    return problem.decode() if problem else ""


def table_key(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()[:16]


def start_stream(seed: int, thread: int) -> np.ndarray:
    """Starts the stream that translated code draws from; the one element of what is returned is 0x9e3779b9 times the number of roundings since."""
    return np.ctypeslib.as_array(lib.fase_lab_random(seed, thread), (1,))


def fma64(operator: str, isa: int, form: int, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    d = np.empty_like(a)
    assert lib.fase_lab_fma64(operator.encode(), isa, form, a, b, c, d, a.size) == 0
    return d


def round64(fmt: str, isa: int, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    assert lib.fase_lab_round64(fmt.encode(), isa, x, out, x.size) == 0
    return out


def code_of(t: Translation) -> bytes:
    return ct.string_at(t.code, t.size)


def disassemble(code: bytes, at: int) -> list[str]:
    from iced_x86 import Decoder, Formatter, FormatterSyntax

    f = Formatter(FormatterSyntax.INTEL)
    return [f"{i.ip - at:5x}  {f.format(i)}" for i in Decoder(64, code, ip=at)]
