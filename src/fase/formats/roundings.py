"""Names of roundings: `rne`, `rtz`, `rup`, `rdn`, `rna`, `odd`, `sr`, `srN`."""

from __future__ import annotations

import re

from fase.errors import FormatError, nearest
from fase.formats.description import ROUNDINGS, Rounding
from fase.formats.format import Format
from fase.formats.tables import TableFormat

TITLES: dict[Rounding, str] = {
    "rne": "to nearest, ties to even",
    "rtz": "toward zero",
    "rup": "toward +infinity",
    "rdn": "toward -infinity",
    "rna": "to nearest, ties away from zero",
    "odd": "to odd: inexact results get an odd last bit",
    "sr": "stochastic; srN: with N random bits",
}
_SPELLINGS: dict[str, Rounding] = {
    "nearest": "rne", "even": "rne", "rn": "rne", "zero": "rtz", "rz": "rtz", "truncate": "rtz", "up": "rup", "ru": "rup", "down": "rdn", "rd": "rdn",
    "away": "rna", "rto": "odd", "stochastic": "sr",
}  # fmt: skip
_STOCHASTIC = re.compile(r"sr(\d{1,2})")


def parse_rounding(word: str, fmt: Format) -> tuple[Rounding, int]:
    """The rounding a word names and its number of random bits (0 unless stochastic) for a format. FormatError if there is none.

    Without a number, stochastic rounding uses as many random bits as rounding a binary32 number drops; more are refused.
    """
    text = word.strip().lower()
    most = max(1, fmt.carrier.mantissa - fmt.mantissa)
    if found := _STOCHASTIC.fullmatch(text):
        if int(found[1]) == 0:
            raise FormatError("sr0 has no random bits; use sr1 to sr23, or rtz")
        _check_table(fmt)
        if int(found[1]) > most and not fmt.is_native:
            raise FormatError(f"{text} has more random bits than rounding to {fmt.name} can use; sr{most} has all")
        return "sr", min(int(found[1]), most)
    if text not in ROUNDINGS:
        hint = _SPELLINGS.get(text) or nearest(text, ROUNDINGS)
        suggestion = f" (did you mean '{hint}'?)" if hint else ""
        raise FormatError(f"unknown rounding '{text}'{suggestion}; there are {', '.join(ROUNDINGS)} and srN")
    rounding = next(r for r in ROUNDINGS if r == text)
    if rounding == "sr":
        _check_table(fmt)
    return rounding, most if rounding == "sr" else 0


def _check_table(fmt: Format) -> None:
    if isinstance(fmt, TableFormat):
        raise FormatError(f"format '{fmt.name}' is a table of values, which has no stochastic rounding; use rne, rtz, rup, rdn, rna or odd")
