"""A program with a known number of FMAs: machine code in fresh executable memory, called through ctypes.

`python -m fase.doctor.probe LEVEL A B CD` reads three files of binary32 numbers (binary64 for the level "double"), runs d = a * b + c over
them in whole vectors, and writes d over the third file. It knows nothing of FASE; nothing but Python itself is loaded.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

BYTES = {"avx2": 32, "avx512": 64, "double": 32}
"""Bytes of a vector, by instruction set; "double": FP64 numbers, with AVX2 instructions."""

# Arguments: a in rdi, b in rsi, c and d in rdx, number of vectors in rcx.
_CODE = {
    "avx2": bytes.fromhex(
        "c5fc100f"  # loop: vmovups ymm1, [rdi]
        "c5fc1006"  # vmovups ymm0, [rsi]
        "c4e275a802"  # vfmadd213ps ymm0, ymm1, [rdx]
        "c5fc1102"  # vmovups [rdx], ymm0
        "4883c7204883c6204883c220"  # add rdi, 32; add rsi, 32; add rdx, 32
        "48ffc975de"  # dec rcx; jne loop
        "c5f877c3"  # vzeroupper; ret
    ),
    "double": bytes.fromhex(
        "c5fc100f"  # loop: vmovups ymm1, [rdi]
        "c5fc1006"  # vmovups ymm0, [rsi]
        "c4e2f5a802"  # vfmadd213pd ymm0, ymm1, [rdx]
        "c5fc1102"  # vmovups [rdx], ymm0
        "4883c7204883c6204883c220"  # add rdi, 32; add rsi, 32; add rdx, 32
        "48ffc975de"  # dec rcx; jne loop
        "c5f877c3"  # vzeroupper; ret
    ),
    "avx512": bytes.fromhex(
        "62f17c48100f"  # loop: vmovups zmm1, [rdi]
        "62f17c481006"  # vmovups zmm0, [rsi]
        "62f27548a802"  # vfmadd213ps zmm0, zmm1, [rdx]
        "62f17c481102"  # vmovups [rdx], zmm0
        "4883c7404883c6404883c240"  # add rdi, 64; add rsi, 64; add rdx, 64
        "48ffc975d7"  # dec rcx; jne loop
        "c5f877c3"  # vzeroupper; ret
    ),
}


def multiply_add(level: str, a: bytes, b: bytes, c: bytes) -> bytes:
    """Element-wise d = a * b + c; all four are arrays of a whole number of vectors. Executes len(a) / BYTES[level] FMAs."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_CODE[level])
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_size_t)(address)
    result = ctypes.create_string_buffer(c, len(c))
    function(a, b, ctypes.addressof(result), len(a) // BYTES[level])
    return result.raw


if __name__ == "__main__":
    level, *names = sys.argv[1:]
    files = [Path(name) for name in names]
    files[2].write_bytes(multiply_add(level, *(file.read_bytes() for file in files)))
