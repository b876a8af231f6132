"""Discovery, ELF tables and scope through libfase_lab: memory images, and real libraries found on this machine."""

from __future__ import annotations

import ctypes as ct
import functools
import importlib.util
import re
import struct
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from iced_x86 import Decoder, Mnemonic
from lab import lib

BASE = 0x10000  # where test code is linked

SITE = np.dtype([("at", "u8"), ("length", "u1"), ("fp64", "?"), ("polynomial", "?"), ("bf16", "u1"), ("padding", "u1", 4), ("function", "u8")])
FUNCTION = np.dtype([("begin", "u8"), ("end", "u8"), ("landing_pads", "u4"), ("entries", "u4")])
EXTENT = np.dtype([("begin", "u8"), ("end", "u8")])


class Extent(ct.Structure):
    _fields_ = [("begin", ct.c_uint64), ("end", ct.c_uint64)]


def _declare(name: str, result: object, *arguments: object) -> None:
    f = getattr(lib, "fase_lab_" + name)
    f.restype, f.argtypes = result, arguments


_declare("image_new", ct.c_void_p)
_declare("image_free", None, ct.c_void_p)
_declare("image_add", None, ct.c_void_p, ct.c_uint64, ct.c_void_p, ct.c_size_t, ct.c_int)
_declare("image_add_elf", ct.c_size_t, ct.c_void_p, ct.c_void_p, ct.c_size_t, ct.c_uint64)
_declare("functions", ct.c_size_t, ct.c_void_p, ct.c_uint64, ct.c_uint64, ct.c_void_p, ct.c_size_t)
_declare("code", ct.c_size_t, ct.c_void_p, ct.c_void_p, ct.c_size_t)
_declare("data", ct.c_size_t, ct.c_void_p, ct.c_uint64, ct.c_uint64, ct.c_void_p, ct.c_size_t)
_declare("symbol_at", ct.c_size_t, ct.c_void_p, ct.c_uint64, ct.POINTER(Extent), ct.c_char_p, ct.c_size_t)
_declare("discover_function", ct.c_void_p, ct.c_void_p, ct.c_uint64, ct.c_uint64, ct.c_int, ct.c_void_p, ct.c_size_t)
_declare("discover_from", ct.c_void_p, ct.c_void_p, ct.c_uint64, Extent, Extent)
_declare("result_free", None, ct.c_void_p)
_declare("result_sites", ct.c_size_t, ct.c_void_p, ct.c_void_p, ct.c_int, ct.c_void_p, ct.c_size_t)
_declare("result_unconfirmed", ct.c_size_t, ct.c_void_p, ct.c_void_p, ct.c_size_t)
_declare("result_covered", ct.c_size_t, ct.c_void_p, ct.c_void_p, ct.c_size_t)
_declare("survey", ct.c_size_t, ct.c_void_p, ct.c_uint64, ct.c_uint64, ct.c_void_p, ct.c_size_t, ct.POINTER(ct.c_double))
_declare("is_transcendental", ct.c_int, ct.c_char_p, ct.c_char_p, ct.c_size_t)
_declare("looks_like_fma", ct.c_int, ct.c_char_p, ct.c_size_t)
_declare("any_fma_pattern", ct.c_int, ct.c_void_p, ct.c_size_t, ct.c_size_t)


def _filled(dtype: npt.DTypeLike, call: Callable[[int, int], int], n: int = 4096) -> npt.NDArray[np.void]:
    while True:
        out = np.zeros(n, dtype)
        found = call(out.ctypes.data, n)
        if found <= n:
            return out[:found]
        n = found


@dataclass
class Found:
    """A Discovery: sites with what scope says of them."""

    sites: npt.NDArray[np.void]
    unconfirmed: npt.NDArray[np.void]
    covered: npt.NDArray[np.void]

    def at(self) -> list[int]:
        return [int(a) for a in self.sites["at"]]

    def polynomial(self) -> list[int]:
        return [int(s["at"]) for s in self.sites if s["polynomial"]]


class Image:
    """Memory as discovery sees it."""

    def __init__(self) -> None:
        self.handle = lib.fase_lab_image_new()
        self.kept: list[npt.NDArray[np.uint8]] = []
        self.segments: list[tuple[int, npt.NDArray[np.uint8]]] = []

    def __del__(self) -> None:
        if lib is not None:  # at interpreter exit modules are gone first
            lib.fase_lab_image_free(self.handle)

    def add(self, address: int, data: bytes, constant: bool = False) -> Image:
        kept = np.frombuffer(data, np.uint8).copy()
        self.kept.append(kept)
        self.segments.append((address, kept))
        lib.fase_lab_image_add(self.handle, address, kept.ctypes.data, len(kept), constant)
        return self

    def add_elf(self, file: npt.NDArray[np.uint8], bias: int = 0) -> Image:
        self.kept.append(file)
        self.bias = bias
        lib.fase_lab_image_add_elf(self.handle, file.ctypes.data, len(file), bias)
        return self

    def load(self, path: Path, bias: int = 0) -> Image:
        file = np.memmap(path, np.uint8, "r")
        header = file[:64].tobytes()
        offset, count = struct.unpack_from("<Q", header, 32)[0], struct.unpack_from("<H", header, 56)[0]
        for i in range(count):
            kind, _, at, address, _, size, _, _ = struct.unpack("<IIQQQQQQ", file[offset + 56 * i : offset + 56 * i + 56].tobytes())
            if kind == 1:
                self.segments.append((address + bias, file[at : at + size]))
        return self.add_elf(file, bias)

    def bytes_at(self, begin: int, end: int) -> bytes:
        for address, data in self.segments:
            if address <= begin < address + len(data):
                return data[begin - address : end - address].tobytes()
        return b""

    def functions(self, begin: int = 0, end: int = 2**63) -> npt.NDArray[np.void]:
        return _filled(FUNCTION, lambda p, n: lib.fase_lab_functions(self.handle, begin, end, p, n))

    def code(self) -> npt.NDArray[np.void]:
        return _filled(EXTENT, lambda p, n: lib.fase_lab_code(self.handle, p, n))

    def data(self, begin: int = 0, end: int = 2**63) -> npt.NDArray[np.void]:
        return _filled(EXTENT, lambda p, n: lib.fase_lab_data(self.handle, begin, end, p, n))

    def symbol(self, a: int) -> tuple[str, int, int]:
        extent, name = Extent(), ct.create_string_buffer(8192)
        length = lib.fase_lab_symbol_at(self.handle, a, extent, name, len(name))
        return name.raw[:length].decode(), extent.begin, extent.end

    def survey(self, begin: int = 0, end: int = 2**63) -> npt.NDArray[np.void]:
        """Every site of every function in [begin, end)."""
        seconds = (ct.c_double * 3)()
        return _filled(SITE, lambda p, n: lib.fase_lab_survey(self.handle, begin, end, p, n, seconds), 1 << 21)

    def function(self, begin: int, end: int, landing_pads: bool = False, entries: Iterable[int] = ()) -> Found:
        more = np.array(list(entries), np.uint64)
        return self._found(lib.fase_lab_discover_function(self.handle, begin, end, landing_pads, more.ctypes.data, len(more)), False)

    def loose(self, entry: int, bounds: tuple[int, int], pages: tuple[int, int] | None = None) -> Found:
        """Code of unknown extent; what it doesn't cover counts as constant."""
        return self._found(lib.fase_lab_discover_from(self.handle, entry, Extent(*bounds), Extent(*(pages or bounds))), True)

    def _found(self, result: int, constants_outside_code: bool) -> Found:
        try:
            return Found(
                _filled(SITE, lambda p, n: lib.fase_lab_result_sites(self.handle, result, constants_outside_code, p, n)),
                _filled("u8", lambda p, n: lib.fase_lab_result_unconfirmed(result, p, n)),
                _filled(EXTENT, lambda p, n: lib.fase_lab_result_covered(result, p, n)),
            )
        finally:
            lib.fase_lab_result_free(result)


def transcendental(function: str, library: str = "libother.so", fmas: int = 0) -> bool:
    return bool(lib.fase_lab_is_transcendental(function.encode(), library.encode(), fmas))


# --- the independent decoder

_FMA = re.compile(r"VFN?M(ADD|SUB|ADDSUB|SUBADD)(132|213|231)[PS][SD]$")
BF16_MNEMONICS = {Mnemonic.VDPBF16PS, Mnemonic.VCVTNEPS2BF16, Mnemonic.VCVTNE2PS2BF16}
FMA_MNEMONICS = {getattr(Mnemonic, n) for n in dir(Mnemonic) if _FMA.match(n)} | BF16_MNEMONICS
"""What sites are made of."""
FP64_MNEMONICS = {getattr(Mnemonic, n) for n in dir(Mnemonic) if _FMA.match(n) and n.endswith("D")}


def iced_sites(code: bytes, begin: int) -> dict[int, tuple[int, bool]]:
    """Sites that a linear sweep by iced-x86 finds: address -> (length, fp64)."""
    return {i.ip: (i.len, i.mnemonic in FP64_MNEMONICS) for i in Decoder(64, code, ip=begin) if i.mnemonic in FMA_MNEMONICS}


def sites_of(sites: npt.NDArray[np.void]) -> dict[int, tuple[int, bool]]:
    return {int(s["at"]): (int(s["length"]), bool(s["fp64"])) for s in sites}


# --- code written by hand or by a compiler


@dataclass
class Program:
    """Assembled code: an image at BASE, and its labels."""

    image: Image
    label: dict[str, int]
    size: int

    def starting(self, prefix: str) -> list[int]:
        return sorted(a for name, a in self.label.items() if name.startswith(prefix))

    def function(self, landing_pads: bool = False, entries: Iterable[str] = ()) -> Found:
        end = self.label.get("end", BASE + self.size)
        return self.image.function(BASE, end, landing_pads, [self.label[e] for e in entries])


def run(*command: str | Path) -> str:
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


def assemble(folder: Path, source: str) -> Program:
    """One .text, linked at BASE; GNU as, Intel syntax. Constants belong into .rodata at BASE + 0x1000 * n."""
    asm, obj, elf = folder / "t.s", folder / "t.o", folder / "t.elf"
    asm.write_text(".intel_syntax noprefix\n.text\n" + source + "\n")
    run("as", "-o", obj, asm)
    run("ld", "-o", elf, f"-Ttext={BASE:#x}", "--noinhibit-exec", "-e", f"{BASE:#x}", obj)
    labels = {p[2]: int(p[0], 16) for p in (line.split() for line in run("nm", elf).splitlines()) if len(p) == 3}
    image = Image().load(elf)
    size = next(len(data) for address, data in image.segments if address <= BASE < address + len(data))
    return Program(image, labels, size)


def compile_c(folder: Path, source: str, *flags: str) -> Image:
    c, so = folder / "t.c", folder / "t.so"
    c.write_text(source)
    run("gcc", "-O3", "-ffast-math", "-march=haswell", "-shared", "-fPIC", *flags, "-o", so, c, "-lm")
    return Image().load(so)


# --- real libraries


def _library(package: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed here")
    found = sorted(Path(spec.origin).parent.parent.glob(pattern))
    if not found:
        pytest.skip(f"{package} has no {pattern}")
    return found[0]


@functools.cache
def openblas() -> Image:
    return Image().load(_library("numpy", "numpy.libs/libscipy_openblas*.so"))


@functools.cache
def numpy_umath() -> Image:
    return Image().load(_library("numpy", "numpy/_core/_multiarray_umath*.so"))


def torch_path() -> Path:
    return _library("torch", "torch/lib/libtorch_cpu.so")


@functools.cache
def torch_cpu() -> Image:
    return Image().load(torch_path())


@functools.cache
def torch_survey() -> npt.NDArray[np.void]:
    return torch_cpu().survey()


@functools.cache
def torch_functions() -> dict[str, tuple[int, int]]:
    """Name -> (single-precision FMAs, of which in polynomials), for functions that have any."""
    single = torch_survey()[~torch_survey()["fp64"]]
    begins, inverse = np.unique(single["function"], return_inverse=True)
    total, flagged = np.bincount(inverse), np.bincount(inverse, single["polynomial"])
    return {torch_cpu().symbol(int(b))[0]: (int(t), int(f)) for b, t, f in zip(begins, total, flagged, strict=True)}


def system_library(name: str) -> Path:
    for folder in ("/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib"):
        if (path := Path(folder) / name).exists():
            return path
    pytest.skip(f"{name} is not on this machine")
