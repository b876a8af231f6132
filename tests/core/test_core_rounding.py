"""Rounding and whole FMAs by emitted code against NumPy, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import guest as guests
import lab
import numpy as np
import pytest

ISAS = [isa for isa in lab.ISAS if isa == lab.AVX2 or lab.HAS_AVX512]
CHUNK = 1 << 22


def expected(x: np.ndarray, m: int) -> np.ndarray:
    return guests.reference_round(x, f"e8m{m}")


def every_float(step: int) -> Iterator[np.ndarray]:
    """All 2^32 bit patterns in chunks; with step > 1 a sample that holds every upper half word."""
    for start in range(0, 2**32, CHUNK):
        yield np.arange(start, start + CHUNK, step, dtype=np.uint64).astype(np.uint32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("m", [1, 2, 3, 7, 10, 21, 22])
def test_rounding_sample(isa: int, m: int) -> None:
    for x in every_float(251):
        got = lab.round_to(f"e8m{m}", isa, x.view(np.float32)).view(np.uint32)
        assert (got == expected(x, m)).all()


@pytest.mark.nightly
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("m", [7, 10])
def test_rounding_every_input(isa: int, m: int) -> None:
    for x in every_float(1):
        got = lab.round_to(f"e8m{m}", isa, x.view(np.float32)).view(np.uint32)
        assert (got == expected(x, m)).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("m", range(1, 23))
def test_short_form_is_right_for_nans_on_the_grid(isa: int, m: int) -> None:
    rng = np.random.default_rng(m)
    x = rng.integers(0, 2**32, 1 << 20, dtype=np.uint64).astype(np.uint32)
    nan = (x & 0x7FFFFFFF) > 0x7F800000
    x = np.where(nan, expected(x, m), x)
    got = lab.round_to(f"e8m{m}", isa, x.view(np.float32), nan_fix=False).view(np.uint32)
    assert (got == expected(x, m)).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize("mode", ["bf16", "mp", "fp32", "e8m4,e8m9,e8m12,e8m6"])
def test_fma_over_arrays(isa: int, form: int, mode: str) -> None:
    """Values whose FMA is exact in float64, so that NumPy can round it once."""
    rng = np.random.default_rng(form)
    n = 10007
    a, b, c = ((rng.standard_normal(n) * 8).astype(np.float32) for _ in range(3))
    fa, fb, fc, fd = lab.spec(mode).split(",")

    def r(x: np.ndarray, f: str) -> np.ndarray:
        return guests.reference_round(x.view(np.uint32), f).view(np.float32)

    exact = r(a, fa).astype(np.float64) * r(b, fb).astype(np.float64) + r(c, fc).astype(np.float64)
    want = r(exact.astype(np.float32), fd)
    got = lab.fma(mode, isa, form, a, b, c)
    if mode == "fp32":  # the product of two 24-bit significands plus an addend may not be exact in float64
        assert (np.abs(got - want) <= np.spacing(np.abs(want))).all()
    else:
        assert (got == want).mean() > 0.999
        assert np.allclose(got, want, rtol=2**-5)
