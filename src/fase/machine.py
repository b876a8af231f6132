"""What this machine's CPU can do, as the engine needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fase.errors import MachineError

_AVX2 = frozenset({"avx2", "fma"})
_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})


@dataclass(frozen=True)
class Cpu:
    """Model name and the feature flags Linux reports."""

    model: str
    flags: frozenset[str]

    @property
    def isa(self) -> str:
        """The widest instruction set the engine can use here: `avx512`, `avx2`, or empty."""
        if not self.flags >= _AVX2:
            return ""
        return "avx512" if self.flags >= _AVX512 else "avx2"


def cpu(source: Path = Path("/proc/cpuinfo")) -> Cpu:
    """Reads the first processor of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in source.read_text(encoding="utf-8").split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    return Cpu(fields.get("model name", "unknown"), frozenset(fields.get("flags", "").split()))


def resolve_isa(asked: str, this: Cpu) -> str:
    """The instruction set a run will use; MachineError when the CPU lacks it."""
    if not this.isa:
        raise MachineError(f"this CPU ({this.model}) has no AVX2 and FMA instructions: there is nothing to emulate")
    if asked == "avx512" and this.isa != "avx512":
        raise MachineError(f"--isa avx512: this CPU ({this.model}) lacks AVX-512 F, BW, DQ or VL; use --isa avx2")
    return this.isa if asked == "auto" else asked
