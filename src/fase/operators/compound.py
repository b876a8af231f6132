"""Compound operators `F-N_M[-k]`: operands as sums of a few literals of a short format F, products by partial products."""

from __future__ import annotations

import re

from fase.errors import FormatError
from fase.formats.description import MANTISSA, MIN_EXPONENT, Grid
from fase.formats.format import Format
from fase.formats.lookup import get
from fase.operators.description import MAX_LITERALS
from fase.operators.operator import Operator

PRODUCTS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 0),),
    3: ((1, 0), (0, 1), (0, 0)),
    4: ((1, 1), (1, 0), (0, 1), (0, 0)),
    6: ((2, 0), (1, 1), (0, 2), (1, 0), (0, 1), (0, 0)),
    9: ((2, 2), (2, 1), (1, 2), (2, 0), (1, 1), (0, 2), (1, 0), (0, 1), (0, 0)),
}
"""Partial products (literal of a, literal of b) by their number, smallest first (the seeds' sets; their order is ours)."""

CHOICES: dict[int, tuple[int, ...]] = {1: (1,), 2: (3, 4), 3: (6, 9)}
"""Numbers of partial products for each number of literals of a and b; the last is taken when none is given."""

SEEDS = ("bf16-1_1", "bf16-1_2", "bf16-1_3", "bf16-2_2-3", "bf16-2_2-4", "bf16-3_3-6", "bf16-3_3-9")
"""The operators of "A BF16 FMA is All You Need for DNN Training"."""

_SHAPE = re.compile(r"(.+?)-(\d+)_(\d+)(?:-(\d+))?")


def compound(word: str) -> Operator | None:
    """The operator that `F-N_M[-k]` names; None when `word` does not have that shape. FormatError when there is no such operator."""
    found = _SHAPE.fullmatch(word)
    if found is None:
        return None
    literal, n, m = get(found[1]), int(found[2]), int(found[3])
    if not 1 <= n <= MAX_LITERALS or not 1 <= m <= MAX_LITERALS:
        raise FormatError(f"'{word}': operands have 1 to {MAX_LITERALS} literals, as in {found[1]}-2_2-3")
    k = int(found[4]) if found[4] else CHOICES[n][-1]
    if k not in CHOICES[n]:
        raise FormatError(
            f"'{word}': with {n} literals there are {' or '.join(map(str, CHOICES[n]))} partial products, as in {found[1]}-{n}_{m}-{CHOICES[n][0]}"
        )
    if not isinstance(literal.describe(), Grid):
        raise FormatError(f"'{word}': literals have a floating- or fixed-point format, not a table like '{found[1]}'")
    outer, count = (get("fp32"), 1) if _holds_fp32(literal, m) else (literal, m)
    return Operator(literal, literal, outer, outer, literals=(n, n, count, count), products=PRODUCTS[k], storage=max(n, m) * literal.bits)


def _holds_fp32(literal: Format, count: int) -> bool:
    """So many literals hold a binary32 mantissa, in its range of exponents."""
    grid = literal.describe()
    wide = isinstance(grid, Grid) and (grid.min_exponent, grid.max_positive >> MANTISSA) == (MIN_EXPONENT, 254)
    return wide and count * (literal.mantissa + 1) > MANTISSA
