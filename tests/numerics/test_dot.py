"""The reference of VDPBF16PS against this CPU's own instruction, and under operators against exact rationals."""

from __future__ import annotations

import ctypes
import math
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from oracle import FP32, NAN, SIGN, encoding_of_special, exponent_of, fma_bits, round_bits, value

import fase
from fase.errors import ModeError
from fase.formats.description import Grid
from fase.machine import cpu
from fase.operators import parse

UInt32 = npt.NDArray[np.uint32]
BF16 = np.array(
    [0x0000, 0x0001, 0x007F, 0x0080, 0x0081, 0x00FF, 0x2000, 0x1F80, 0x3F7F, 0x3F80, 0x3F81, 0x4049, 0x7F7F, 0x7F80, 0x7F81, 0x7FC3, 0x7FFF],
    np.uint32,
)
"""Zero, subnormals, the smallest normals, factors whose products are about 2^-126, ones, pi, the largest, infinity, NaNs."""
FP32_VALUES = np.array(
    [0, 1, 0x007FFFFF, 0x00800000, 0x00800001, 0x00FFFFFF, 0x01000000, 0x3F800000, 0x3F808000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC12345],
    np.uint32,
)
SOURCE = """
#include <immintrin.h>
void dots(const void *a, const void *b, float *c, long n) {  /* 16 sums at a time, on top of c */
  for (long i = 0; i < n; i += 16) {
    __m512bh x = (__m512bh)_mm512_loadu_si512((const char *)a + 4 * i), y = (__m512bh)_mm512_loadu_si512((const char *)b + 4 * i);
    _mm512_storeu_ps(c + i, _mm512_dpbf16_ps(_mm512_loadu_ps(c + i), x, y));
  }
}
"""


def operands(count: int, seed: int = 0) -> tuple[UInt32, UInt32, UInt32]:
    """Encodings as binary32: a and b (count, 2), c (count): special ones, such whose sums are near the smallest normal, any bits."""
    rng = np.random.default_rng(seed)

    def mixed(special: UInt32, shape: tuple[int, ...], low: int) -> UInt32:
        bits = rng.integers(0, 1 << 32, shape, np.uint32) & np.uint32(0xFFFFFFFF << low & 0xFFFFFFFF)
        small = rng.random(shape) < 0.3  # exponents about half of the smallest, so that products are about the smallest
        bits = np.where(small, bits & np.uint32(0x80FFFFFF) | np.uint32(0x1F000000 if low else 0), bits)
        signed = rng.choice(special, shape) << np.uint32(low) | rng.integers(0, 2, shape, np.uint32) << np.uint32(31)
        return np.where(rng.random(shape) < 0.3, signed, bits).astype(np.uint32)

    return mixed(BF16, (count, 2), 16), mixed(BF16, (count, 2), 16), mixed(FP32_VALUES, (count,), 0)


@pytest.fixture(scope="module")
def instruction(tmp_path_factory: pytest.TempPathFactory) -> Callable[[UInt32, UInt32, UInt32], UInt32]:
    """This CPU's VDPBF16PS."""
    if "avx512_bf16" not in cpu().flags:
        pytest.skip("this CPU has no AVX512_BF16")
    folder: Path = tmp_path_factory.mktemp("dots")
    (folder / "dots.c").write_text(SOURCE)
    command = ["gcc", "-O1", "-shared", "-fPIC", "-mavx512f", "-mavx512bf16", "-o", str(folder / "dots.so"), str(folder / "dots.c")]
    subprocess.run(command, check=True)
    function = ctypes.CDLL(str(folder / "dots.so")).dots

    def call(a: UInt32, b: UInt32, c: UInt32) -> UInt32:
        x, y = (np.ascontiguousarray((v >> np.uint32(16)).astype(np.uint16)) for v in (a, b))
        out = c.copy()
        function(*(ctypes.c_void_p(v.ctypes.data) for v in (x, y, out)), ctypes.c_long(len(c)))
        return out

    return call


def reference(a: UInt32, b: UInt32, c: UInt32, mode: str = "fp32") -> UInt32:
    """dpbf16 on encodings: one sum for each row of a and b."""
    return fase.dpbf16(a.ravel().view(np.float32), b.ravel().view(np.float32), c.view(np.float32), mode).view(np.uint32)


@pytest.mark.parametrize("mode", ["fp32", "mp", "avx512-bf16", "mp-tf32"])
def test_equals_the_instruction(instruction: Callable[[UInt32, UInt32, UInt32], UInt32], mode: str) -> None:
    """Modes that keep BF16 factors and FP32 sums; NaN payloads included."""
    a, b, c = operands(1 << 17)
    np.testing.assert_array_equal(reference(a, b, c, mode), instruction(a, b, c))


@pytest.mark.nightly
def test_equals_the_instruction_on_all_factors(instruction: Callable[[UInt32, UInt32, UInt32], UInt32]) -> None:
    """All 2^16 BF16 values times some, added to some."""
    everything = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    for seed in range(40):
        a, b, c = operands(1 << 16, seed)
        a[:, seed % 2] = everything
        np.testing.assert_array_equal(reference(a, b, c), instruction(a, b, c))


def multiply_add(grids: list[Grid], a: int, b: int, c: int) -> int:
    """One multiply-add by rationals: subnormal operands are zeros, and so is a sum that is subnormal once rounded. Any NaN is one NaN."""
    a, b, c = (bits & SIGN if bits & 0x7F800000 == 0 else bits for bits in (a, b, c))
    a, b, c = (bits if grid == FP32 else round_bits(bits, grid) for bits, grid in zip((a, b, c), grids, strict=False))
    numbers = [value(bits) for bits in (a, b, c)]
    if all(map(math.isfinite, numbers)):
        x, y, z = map(Fraction, numbers)
        d = 0 if is_tiny(x * y + z) else fma_bits(a, b, c)
        if d == 0:
            d = SIGN if x * y + z < 0 or (x * y + z == 0 and fma_bits(a, b, c) == SIGN) else 0
    else:
        d = encoding_of_special(numbers[0], numbers[1], numbers[2])
    return d if grids[3] == FP32 else round_bits(d, grids[3])


def is_tiny(total: Fraction) -> bool:
    """Not zero, and below the smallest normal number once rounded to 24 bits with any exponent."""
    if total == 0:
        return False
    step = Fraction(2) ** (exponent_of(total) - 23)
    return abs(round(total / step) * step) < Fraction(2) ** -126


@pytest.mark.parametrize("mode", [
    "fp32", "bf16", "mp-e4m3fn", "fp16", "e8m10,rounding=rtz", "e4m3fn,saturate", "mp-e5m2,rounding=rup", "a=fp32,b=e3m4,c=e8m5,d=e8m12,rounding=odd",
    "bf16,rounding=rna", "int8", "mp-fp16,saturate",
])  # fmt: skip
def test_equals_rationals(mode: str) -> None:
    """The odd pair first, each step under the operator."""
    a, b, c = operands(1500, seed=7)
    described = parse(mode).description
    grids = [g for g in (described.a, described.b, described.c, described.d) if isinstance(g, Grid)]
    found = reference(a, b, c, mode)
    for i in range(len(c)):
        t = multiply_add(grids, int(a[i, 1]), int(b[i, 1]), int(c[i]))
        want = multiply_add(grids, int(a[i, 0]), int(b[i, 0]), t)
        got = NAN if math.isnan(value(int(found[i]))) else int(found[i])
        assert got == (NAN if math.isnan(value(want)) else want), (mode, [hex(int(v)) for v in (*a[i], *b[i], c[i])])


def test_the_order_of_a_pair_shows() -> None:
    """1 + 256 is 256 in BF16, 1 - 256 is exact: what the odd element, which comes first, adds makes the difference."""
    one = np.array([1.0, 1.0])
    assert fase.dpbf16(one, [-256.0, 256.0], [1.0], "bf16") == 0
    assert fase.dpbf16(one, [256.0, -256.0], [1.0], "bf16") == 1


def test_shapes() -> None:
    rng = np.random.default_rng(0)
    a, b = (fase.round(rng.random(shape), "bf16") for shape in ((3, 1, 8), (5, 8)))
    d = fase.dpbf16(a, b, np.zeros(4))
    assert d.shape == (3, 5, 4)
    assert (d[2, 4] == fase.dpbf16(a[2, 0], b[4], np.zeros(4))).all()


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="not BF16"):
        fase.dpbf16([1.0, 1.001], [1.0, 1.0], [0.0])
    with pytest.raises(ValueError, match="pairs"):
        fase.dpbf16([1.0], [1.0], [0.0])
    for mode, word in (("bf16-2_2-3", "compound"), ("bf16,exact", "exact"), ("bf16,rounding=sr", "stochastic"), ("e8m13,chunk=8", "chunk")):
        with pytest.raises(ModeError, match=word):
            fase.dpbf16([1.0, 1.0], [1.0, 1.0], [0.0], mode)
