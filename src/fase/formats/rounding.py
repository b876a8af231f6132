"""The reference rounding. Slow and obvious: emitted code must give the same bits. The text it follows is in docs/operators.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fase.arrays import numbers
from fase.errors import FormatError
from fase.formats.carrier import BINARY64
from fase.formats.description import MANTISSA, SIGN, Grid, NanRule, Overflow, Rounding, Table, ieee
from fase.formats.format import Format
from fase.formats.lookup import get
from fase.formats.random import LANES, Stream
from fase.formats.roundings import parse_rounding
from fase.formats.tables import TableFormat

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
UInt32 = npt.NDArray[np.uint32]

UInt64 = npt.NDArray[np.uint64]

_TYPES: dict[str, tuple[Any, Any]] = {"binary32": (np.float32, np.uint32), "binary64": (np.float64, np.uint64)}
_QUIET = np.uint32(0x00400000)
_NAN = np.uint32(0x7FC00000)
_SIGN = np.uint32(SIGN)


def round_to(
    x: npt.ArrayLike, fmt: str | Format, *, rounding: str = "rne", seed: int = 0, thread: int = 0, start: int = 0, lanes: int = LANES
) -> Float32:
    """`x`, converted to float32, rounded to the values of `fmt`; float32 of the same shape.

    `rounding` is rne, rtz, rup, rdn, rna, odd or sr (srN for N random bits). What becomes of subnormals, values beyond the largest one, infinities,
    NaNs and -0 is the format's affair (`fase formats NAME`); a NaN that stays one keeps its sign, becomes quiet, and its
    payload is cut to the bits the format has. Rounding to fp32 changes no bit.

    Stochastic rounding takes its random bits from the stream of `seed` and `thread`, as if vectors of `lanes` elements were rounded
    one after the other, `start` roundings having gone before. FormatError for an unknown format or rounding, ArrayError for
    what is no array of real numbers.
    """
    target = get(fmt)
    values = numbers(x, "x", np.float32)
    mode, random_bits = parse_rounding(rounding, target)
    if target.is_fp32:
        return values.copy()
    flat = np.atleast_1d(values).ravel()
    random = Stream(seed, thread, start, lanes).bits(flat.size, random_bits) if random_bits else None
    return round_flat(flat, target, mode, random_bits, random).reshape(values.shape)


def round64(x: npt.ArrayLike, fmt: str | Format, *, rounding: str = "rne") -> Float64:
    """`x`, converted to float64, rounded to the values of `fmt`; float64 of the same shape: as `round`, with binary64 in place of binary32.

    Formats have up to 11 exponent and 52 mantissa bits. There is no stochastic rounding, nor are there formats by table. FormatError.
    """
    target = get(fmt, BINARY64)
    values = numbers(x, "x", np.float64)
    grid = target.describe(*parse_rounding(rounding, target))
    if not isinstance(grid, Grid) or grid.random_bits:
        raise FormatError("there is no stochastic rounding of binary64 numbers; use rne, rtz, rup, rdn, rna or odd")
    return values.copy() if grid.is_identity else round64_flat(np.atleast_1d(values).ravel(), grid).reshape(values.shape)


def round64_flat(x: Float64, grid: Grid) -> Float64:
    """Rounds a vector of binary64 numbers to a format on that grid."""
    if grid.is_identity:
        return x
    rounded: Float64 = on_grid(x, x, grid)
    return rounded


def round_flat(x: Float32, fmt: Format, rounding: Rounding, random_bits: int, random: UInt32 | None) -> Float32:
    """Rounds a vector of binary32 numbers to a format."""
    with np.errstate(invalid="ignore"):
        return round_real(x.astype(np.float64), x, fmt, rounding, random_bits, random)


def round_real(real: Float64, nans: Float32, fmt: Format, rounding: Rounding, random_bits: int, random: UInt32 | None) -> Float32:
    """Rounds numbers that binary64 holds (or, rounded to odd there, stands for) to a format; where `real` is a NaN, `nans` says which."""
    if isinstance(fmt, TableFormat):
        return _by_table(real, nans, fmt, rounding)
    grid = fmt.describe(rounding, random_bits)
    assert isinstance(grid, Grid)
    rounded: Float32 = on_grid(real, nans, grid, random)
    return rounded


def on_grid(real: Float64, nans: Float32 | Float64, grid: Grid, random: UInt32 | None = None) -> Any:
    """The six steps of docs/operators.md; numbers of the grid's carrier."""
    number, word = _TYPES[grid.carrier.name]
    from_bits, sign = grid.carrier.from_bits, word(grid.carrier.sign)
    finite, negative = np.isfinite(real), np.signbit(real)
    size = np.where(finite, np.abs(real), 0.0)
    exponent = np.maximum(np.frexp(size)[1] - 1, grid.min_exponent)
    quantum = exponent - grid.mantissa
    scaled = np.ldexp(size, -quantum)
    whole = np.floor(scaled)
    odd = whole % 2 == 1
    if grid.mantissa == 0:
        odd = np.where(whole == 1, (exponent + grid.carrier.max_exponent) % 2 == 1, odd)
    whole += _one_more(scaled - whole, odd, negative, grid, random)
    with np.errstate(over="ignore"):
        rounded = np.where(size < from_bits(grid.least), 0.0, np.ldexp(whole, quantum))

    largest = np.where(negative, -from_bits(grid.max_negative), from_bits(grid.max_positive))
    over = finite & (rounded > largest)
    with np.errstate(over="ignore"):
        bits = rounded.astype(number).view(word) | np.where(negative, sign, word(0))
    bits = np.where(bits == (word(0) if grid.signed_zero else sign), word(0), bits)
    bits = np.where(over, _beyond(negative, grid, "max" if grid.rounding in ("rtz", "odd") else grid.overflow), bits)
    if grid.rounding in ("rup", "rdn"):
        bits = np.where(over & (negative == (grid.rounding == "rup")), _beyond(negative, grid, "max"), bits)
    bits = np.where(np.isinf(real), _beyond(negative, grid, grid.infinity), bits)
    cut = word(grid.carrier.sign * 2 - (1 << (grid.carrier.mantissa - grid.mantissa)))
    quiet = word(grid.carrier.quiet)
    bits = np.where(np.isnan(real), _nan(nans.view(word), cut, quiet, grid.nan, grid.max_positive), bits)
    return bits.astype(word).view(number)


def to_odd32(real: Float64, nans: Float32) -> Float32:
    """Rounds to binary32, to odd; finite values stay finite."""
    rounded: Float32 = on_grid(real, nans, ieee(MANTISSA, "odd"))
    return rounded


def _one_more(rest: Float64, odd: Bool, negative: Bool, grid: Grid, random: UInt32 | None) -> Bool:
    """Whether the magnitude, `rest` of a step above a multiple, goes up to the next one."""
    rules: dict[Rounding, Callable[[], Bool]] = {
        "rne": lambda: (rest > 0.5) | ((rest == 0.5) & odd),
        "rna": lambda: rest >= 0.5,
        "rtz": lambda: np.zeros(rest.shape, np.bool_),
        "rup": lambda: (rest > 0) & ~negative,
        "rdn": lambda: (rest > 0) & negative,
        "odd": lambda: (rest > 0) & ~odd,
        "sr": lambda: np.asarray(np.floor(np.ldexp(rest, grid.random_bits)) + random >= 2.0**grid.random_bits),
    }
    return rules[grid.rounding]()


def _beyond(negative: Bool, grid: Grid, result: Overflow) -> Any:
    """What stands for a value beyond the largest finite one."""
    carrier, word = grid.carrier, _TYPES[grid.carrier.name][1]
    if result == "max":
        return np.where(negative, word(grid.max_negative), word(grid.max_positive))
    return np.where(negative, word(carrier.sign), word(0)) | word(carrier.infinity | (carrier.quiet if result == "nan" else 0))


def _nan(nans: Any, cut: Any, quiet: Any, rule: NanRule, largest: int) -> Any:
    if rule == "nan":
        return (nans & cut) | quiet
    return np.full(nans.shape, 0 if rule == "zero" else largest, nans.dtype)


def _by_table(real: Float64, nans: Float32, fmt: TableFormat, rounding: Rounding) -> Float32:
    """Looks values up in a table; `real` is rounded to odd in binary32 first, which changes no binary32 number."""
    described: Table = fmt.describe(rounding)
    values, limits = (np.array(part) for part in fmt.limits(rounding))
    x = to_odd32(real, nans)
    index = np.searchsorted(limits, x.astype(np.float64), side="right")
    bits = values[index].astype(np.float32).view(np.uint32)
    if described.signed_zero:
        bits = np.where((bits == 0) & np.signbit(real), _SIGN, bits)
    if described.infinity != "inf":
        end = np.where(np.signbit(real), values[0], values[-1]).astype(np.float32).view(np.uint32)
        bits = np.where(np.isinf(real), end if described.infinity == "max" else (x.view(np.uint32) & _SIGN) | _NAN, bits)
    largest = int(np.float32(values[-1]).view(np.uint32))
    bits = np.where(np.isnan(real), _nan(nans.view(np.uint32), np.uint32(0xFFFFFFFF), _QUIET, described.nan, largest), bits)
    return bits.astype(np.uint32).view(np.float32)
