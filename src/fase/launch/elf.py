"""Just enough of ELF to tell whether a program can be run: is it for this machine, and does it load the agent?"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"\x7fELF"
_X86_64 = 62
_PT_INTERP = 3
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


@dataclass(frozen=True)
class Elf:
    """The facts about an executable: 32 or 64 bits, its e_machine, and the dynamic linker it asks for (empty: static)."""

    bits: int
    machine: int
    interpreter: str

    @property
    def is_x86_64(self) -> bool:
        """True for the 64-bit little-endian files this machine's engine can patch (x32 is not one)."""
        return self.bits == 64 and self.machine == _X86_64


def read(path: Path) -> Elf:
    """Reads the header of an ELF file. ValueError when it is cut short or not ELF."""
    with path.open("rb") as file:
        header = file.read(64)
        if len(header) < 20 or header[:4] != MAGIC:
            raise ValueError("not a whole ELF header")
        order = "<" if header[5] == 1 else ">"
        machine: int = struct.unpack_from(order + "H", header, 18)[0]
        if header[4] != 2 or order != "<" or machine != _X86_64:
            return Elf(64 if header[4] == 2 else 32, machine if order == "<" else -1, "")
        if len(header) < 64:
            raise ValueError("not a whole ELF header")
        start, count = struct.unpack_from("<Q", header, 32)[0], struct.unpack_from("<H", header, 56)[0]
        file.seek(start)
        table = file.read(count * _PROGRAM_HEADER.size)
        for kind, _, offset, _, _, size, _, _ in _PROGRAM_HEADER.iter_unpack(table[: len(table) // 56 * 56]):
            if kind == _PT_INTERP:
                file.seek(offset)
                return Elf(64, machine, file.read(min(size, 4096)).rstrip(b"\0").decode(errors="replace"))
    return Elf(64, machine, "")
