"""Operands worth testing an operator with. The same for the same operator, everywhere."""

from __future__ import annotations

import itertools
import math
import zlib

import numpy as np
import numpy.typing as npt

from fase.formats.binary32 import to_bits
from fase.formats.format import Format, GridFormat
from fase.formats.rounding import Float32, round_to
from fase.operators import Operator

RANDOM = 120
SPECIAL = 160


def on_grid(operator: Operator) -> tuple[Float32, Float32, Float32]:
    """Operands that are values of their formats: special ones, sums at and near the ties and the ends of d, random ones; each a vector."""
    random = np.random.default_rng(zlib.crc32(operator.description.text.encode()))
    formats = operator.formats[:3]
    triples = list(itertools.product(*(special(f) for f in formats)))
    chosen = np.array([triples[i] for i in sorted(random.permutation(len(triples))[:SPECIAL])], np.float32)
    parts = [tuple(chosen.T), _edges(operator), _random(operator, random, RANDOM)]
    a, b, c = (np.concatenate([part[i] for part in parts]).astype(np.float32) for i in range(3))
    return round_to(a, formats[0]), round_to(b, formats[1]), round_to(c, formats[2])


def off_grid(operator: Operator) -> tuple[Float32, Float32, Float32]:
    """Operands that conversion has to round: random ones, and neighbours of ties."""
    random = np.random.default_rng(zlib.crc32(operator.description.text.encode()) + 1)
    a, b, c = _random(operator, random, RANDOM)
    shift = random.integers(-1, 2, (3, RANDOM)).astype(np.int32)
    ties = [_near_tie(x, f, s) for x, f, s in zip((a, b, c), operator.formats, shift, strict=False)]
    a, b, c = (np.concatenate([x, t]) for x, t in zip((a, b, c), ties, strict=True))
    return a, b, c


def _near_tie(x: Float32, fmt: Format, shift: npt.NDArray[np.int32]) -> Float32:
    """Half a step above values of a format, and up to one binary32 step to either side of that."""
    middle = round_to(x, fmt).view(np.uint32) | np.uint32(1 << max(0, 22 - fmt.mantissa))
    return (middle.astype(np.int64) + shift).astype(np.uint32).view(np.float32)


def special(fmt: Format) -> list[float]:
    """Zeros, the smallest and largest values, one and its neighbour, infinities and a NaN, as far as a format has them."""
    positive = [0.0, fmt.smallest, 1.0, 1.0 + (fmt.epsilon if fmt.epsilon > 0 else 0.0), fmt.max]
    if isinstance(fmt, GridFormat):
        positive += [fmt.min_normal, fmt.min_normal - fmt.smallest]
    found = [v for v in positive if v <= fmt.max] + [-v for v in positive if -v >= fmt.min] + [fmt.min]
    found += [math.inf, -math.inf] if fmt.infinity == "inf" else []
    found += [math.nan] if fmt.nan == "nan" else []
    return list({to_bits(v) if v == v else -1: v for v in found}.values())


def _edges(operator: Operator) -> tuple[Float32, Float32, Float32]:
    """c a value of d, a * b half a step of d there, a little less and a little more: ties and the edge of overflow."""
    d, c_format = operator.d, operator.c
    factor = _power_of_two(operator.a)
    rows = []
    for base, sign in itertools.product((1.0, 1.5, d.smallest, d.max, 4.0), (1.0, -1.0)):
        for step in (0.5, 1.0, 0.25, 0.75):
            size = min(base, c_format.max)
            ulp = math.ldexp(1.0, max(math.frexp(size)[1] - 1 - d.mantissa, -149))
            rows.append((sign * factor, step * ulp / factor, sign * size))
            rows.append((-sign * factor, step * ulp / factor, sign * size))
    a, b, c = np.array(rows, np.float64).T
    limit = np.finfo(np.float32).max
    a, b, c = (np.clip(x, -limit, limit).astype(np.float32) for x in (a, b, c))
    return a, b, c


def _power_of_two(fmt: Format) -> float:
    """A power of two near the square root of the largest value: a factor that leaves the other in range."""
    return math.ldexp(1.0, max(0, math.frexp(fmt.max)[1] // 2 - 1))


def _random(operator: Operator, random: np.random.Generator, count: int) -> tuple[Float32, Float32, Float32]:
    """Random mantissas with exponents across each format's range, but so that product and addend often meet."""
    ranges = [(math.frexp(f.smallest)[1], math.frexp(f.max)[1]) for f in operator.formats[:3]]
    firsts = [max(low, -126) for low, _ in ranges]
    exponents = [
        random.integers(first, max(high, first + 1), count) for first, (_, high) in zip(firsts, ranges, strict=True)
    ]  # some have one exponent
    meet = random.random(count) < 0.7
    exponents[2] = np.where(meet, np.clip(exponents[0] + exponents[1] + random.integers(-6, 7, count), *ranges[2]), exponents[2])
    a, b, c = (np.ldexp(random.uniform(1, 2, count), e - 1) * random.choice([-1, 1], count) for e in exponents)
    with np.errstate(over="ignore"):
        return a.astype(np.float32), b.astype(np.float32), c.astype(np.float32)
