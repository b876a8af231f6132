"""The table of examples/accumulation_error.py: by the reference, and by real SGEMM, whose sums it explains bit for bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"


def run(script: Path, *arguments: str) -> str:
    """What the script prints."""
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_table() -> None:
    """Every row of every table: the more mantissa bits, the less error; coarse rounding hides what fine rounding shows."""
    out = run(EXAMPLES / "accumulation_error.py", "--cases", "U200", "N64")
    rows = [line.split() for line in out.splitlines() if line[:2] in ("U ", "N ")]
    assert len(rows) % 2 == 0
    assert len(rows) >= 4, "the reference and NumPy"
    for kind, terms, *figures in rows:
        coarse, fine, chunks, mp, two, three, fp32 = map(float, figures)
        assert fine >= chunks > 1e-3, (kind, terms)
        assert fine > 2 * coarse > 1e-3, (kind, terms)
        assert fine > mp > two > three >= fp32 > 0, (kind, terms)
        assert two < 1e-4
        assert three < 1e-5
    assert out.count("kernel: ") == out.count("chains: ") == len(rows) // 2 - 1


def test_real_sums_are_what_their_chains_explain() -> None:
    """MKL adds up its chains in FP32, also those in chunks. OpenBLAS multiplies the sum by alpha in an FMA, which BF16 and FP32 sums survive."""
    out = run(REPOSITORY / "tests" / "programs" / "sgemm_chains.py", str(EXAMPLES), "64", "256")
    products = [line.split()[1:] for line in out.splitlines() if line.startswith("product ")]
    assert {p[0] for p in products} >= {"NumPy"}
    for library, k, mode, lengths, verdict in products:
        assert sum(map(int, lengths.split("+"))) == int(k)
        if library == "PyTorch" or (lengths == k and mode in ("fp32", "bf16")):
            assert verdict == "equal", (library, k, mode, lengths)
    assert any(p[0] == "NumPy" and p[4] == "equal" for p in products)


@pytest.mark.nightly
def test_whole_table() -> None:
    """NUMERICS section 6, whose random numbers are not known: within a quarter."""
    out = run(EXAMPLES / "accumulation_error.py")
    first = [line.split() for line in out.splitlines() if line[:2] in ("U ", "N ")][:4]
    published = [
        (1.8e-3, 2.9e-2, 1.8e-4, 2.2e-5, 3.9e-7, 2.3e-7),
        (1.8e-3, 2.2e-1, 8.2e-5, 4.1e-5, 7.0e-7, 4.3e-7),
        (1.8e-3, 7.5e-1, 3.7e-5, 8.4e-5, 1.4e-6, 8.1e-7),
        (2.9e-3, 3.8e-2, 2.4e-3, 5.6e-5, 1.1e-6, 5.8e-7),
    ]
    for row, expected in zip(first, published, strict=True):
        for figure, wanted in zip(map(float, row[2:4] + row[5:]), expected, strict=True):
            assert wanted / 1.25 < figure < wanted * 1.25, row
