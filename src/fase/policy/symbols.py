"""Names of the functions in an ELF file, as the agent sees them, and their demangled forms."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

from fase.errors import PolicyError

_SECTION = [
    ("name", "<u4"), ("type", "<u4"), ("flags", "<u8"), ("addr", "<u8"), ("offset", "<u8"), ("size", "<u8"), ("link", "<u4"),
    ("info", "<u4"), ("align", "<u8"), ("entsize", "<u8"),
]  # fmt: skip
_SYMBOL = [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
_SYMBOL_TABLES = (2, 11)  # SHT_SYMTAB, SHT_DYNSYM
_FUNCTIONS = (2, 10)  # STT_FUNC, STT_GNU_IFUNC


def function_names(path: Path) -> list[str]:
    """Names of all functions that a library or program defines, sorted, each once. PolicyError when it is not a 64-bit ELF file."""
    import numpy as np  # late: `fase run` without routine rules starts its child before NumPy's threads exist

    section, symbol = np.dtype(_SECTION), np.dtype(_SYMBOL)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from None
    if data[:5] != b"\x7fELF\x02" or len(data) < 64:
        raise PolicyError(f"{path}: is not a 64-bit ELF file")
    start, size, count = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 58)
    if size != section.itemsize or start + size * count > len(data):
        raise PolicyError(f"{path}: has no section headers, so no symbols to show")
    sections = np.frombuffer(data, section, count=count, offset=start)
    names: set[bytes] = set()
    for table in sections[np.isin(sections["type"], _SYMBOL_TABLES)]:
        symbols = np.frombuffer(data, symbol, count=int(table["size"]) // symbol.itemsize, offset=int(table["offset"]))
        strings = int(sections[int(table["link"])]["offset"])
        chosen = symbols[np.isin(symbols["info"] & 15, _FUNCTIONS) & (symbols["shndx"] != 0)]
        for name in np.unique(chosen["name"]).tolist():
            names.add(data[strings + name : data.index(b"\0", strings + name)])
    return sorted(name.decode(errors="replace") for name in names if name)


def demangled(name: str) -> str:
    """The C++ name of a mangled one; other names as they are, and all where the C++ runtime library is missing."""
    function = _demangler()
    return function(name) if function and name.startswith("_Z") else name


@cache
def _demangler() -> Callable[[str], str] | None:
    import ctypes  # only now: `fase run` has no names to show before it starts the program

    try:
        runtime, libc = ctypes.CDLL("libstdc++.so.6"), ctypes.CDLL(None)
    except OSError:
        return None
    demangle, free = runtime.__cxa_demangle, libc.free
    demangle.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

    def call(name: str) -> str:
        status = ctypes.c_int()
        found = demangle(name.encode(), None, None, ctypes.byref(status))
        if status.value or not found:
            return name
        text = ctypes.string_at(found).decode(errors="replace")
        free(found)
        return text

    return call
