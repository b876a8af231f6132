"""Every form of every FMA instruction, as assembly source and as data for the reference.

`source(forms)` is one function `forms_run` for tests/programs/forms.c: each form loads its registers from the arrays in_a, in_b and
in_c, runs once, and stores its destination register to out[i].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from reference import fma

OPERATIONS = ("fmadd", "fmsub", "fnmadd", "fnmsub", "fmaddsub", "fmsubadd")
ORDERS = ("132", "213", "231")
WIDTHS = {"x": 16, "y": 32, "z": 64}  # bytes
MASKS = (0xFFFFFFFFFFFFFFFF, 0x5A3C5A3C5A3C5A3C, 0xC0F5, 0, 1, 0x8000, 0xFFFE, 0x7777)  # k0 is never used as a mask
# How the third operand is reached. The registers point at in_c, as `source` sets them up.
VEX_MEMORY = (
    "in_c(%rip)", "(%rax)", "64(%rbx)", "-32(%r13)", "(%r12)", "(%rcx,%rdx,4)", "512(%r8,%r9)", "8(%rsp)", "%fs:in_c_tls@tpoff", "%gs:0",
)  # fmt: skip
EVEX_MEMORY = ("in_c(%rip)", "(%rax)", "64(%rbx)", "(%r12)", "512(%r8,%r9)", "8(%rsp)")


@dataclass(frozen=True)
class Form:
    operation: str
    order: str
    kind: str  # ps, pd, ss, sd
    width: str  # x, y, z
    operand: str  # register, memory, broadcast
    address: str = ""
    mask: int = 0  # k register; 0: none
    zeroing: bool = False
    rounding: str = ""  # rn, rd, ru, rz: embedded rounding
    evex: bool = False

    @property
    def scalar(self) -> bool:
        return self.kind[0] == "s"

    @property
    def double(self) -> bool:
        return self.kind[1] == "d"

    def text(self, index: int) -> list[str]:
        """The instruction and what surrounds it. `index` chooses the registers, so that all of them get their turn."""
        registers = 32 if self.evex else 16
        dest, second, third = (f"%{{w}}mm{(index * 5 + i * 7) % registers}" for i in range(3))
        full = "z" if self.evex else "y"
        load = [f"vmovups in_{name}(%rip), {register.format(w=full)}" for name, register in (("a", dest), ("b", second), ("c", third))]
        to, left, right = (r.format(w=self.width) for r in (dest, second, third))
        source = {"register": right, "memory": self.address, "broadcast": f"{self.address}{{1to{self.lanes}}}"}[self.operand]
        mask = f"{{%k{self.mask}}}" * bool(self.mask) + "{z}" * self.zeroing
        rounding = f"{{{self.rounding}-sae}}, " * bool(self.rounding)
        prefix = "" if self.evex else "{vex} "
        if self.evex and not (self.mask or self.rounding or self.operand == "broadcast" or self.width == "z"):
            prefix = "{evex} "
        instruction = f"{prefix}v{self.operation}{self.order}{self.kind} {rounding}{source}, {left}, {to}{mask}"
        return [*load, instruction, f"vmovups {dest.format(w=full)}, out+64*{index}(%rip)"]

    @property
    def lanes(self) -> int:
        return WIDTHS[self.width] // (8 if self.double else 4)

    def expected(self, mode: str, a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]) -> NDArray[np.float32]:
        """The 16 lanes of the destination afterwards; single precision only."""
        third = np.full(16, c[0], np.float32) if self.operand == "broadcast" else c
        factor, other, addend = {"132": (a, third, b), "213": (b, a, third), "231": (b, third, a)}[self.order]
        if self.operation.startswith("fnm"):
            factor = -factor
        subtract = np.full(16, self.operation in ("fmsub", "fnmsub"))
        if self.operation == "fmaddsub":
            subtract[0::2] = True
        if self.operation == "fmsubadd":
            subtract[1::2] = True
        computed = fma(mode, factor, other, np.where(subtract, -addend, addend), self.rounding or "rn")
        bits = MASKS[self.mask] if self.mask else MASKS[0]
        active = np.array([bits >> lane & 1 for lane in range(16)], bool)
        result = np.where(active, computed, np.float32(0) if self.zeroing else a)
        if self.scalar:
            result = np.concatenate([result[:1], a[1:]])
        result[4 if self.scalar else self.lanes :] = 0  # VEX and EVEX clear what is above their vector
        return result


def _instructions() -> Iterator[tuple[str, str, str]]:
    for operation in OPERATIONS:
        for order in ORDERS:
            for kind in ("ps", "pd", "ss", "sd"):
                if not (kind[0] == "s" and operation in ("fmaddsub", "fmsubadd")):
                    yield operation, order, kind


def vex_forms() -> Iterator[Form]:
    for count, (operation, order, kind) in enumerate(_instructions()):
        for width in ("x",) if kind[0] == "s" else ("x", "y"):
            yield Form(operation, order, kind, width, "register")
            for address in (VEX_MEMORY[count % 10], VEX_MEMORY[(count * 3 + 1) % 10], VEX_MEMORY[(count * 7 + 4) % 10]):
                yield Form(operation, order, kind, width, "memory", address)


def evex_forms() -> Iterator[Form]:
    count = 0
    for operation, order, kind in _instructions():
        for width in ("x",) if kind[0] == "s" else ("x", "y", "z"):
            for zeroing, masked in ((False, False), (False, True), (True, True)):
                count += 1
                mask = 1 + count % 7 if masked else 0
                plain = Form(operation, order, kind, width, "register", mask=mask, zeroing=zeroing, evex=True)
                yield plain
                yield replace(plain, operand="memory", address=EVEX_MEMORY[count % 6])
                if kind[0] == "p":
                    yield replace(plain, operand="broadcast", address=EVEX_MEMORY[(count + 3) % 6])
                if width == "z" or kind[0] == "s":
                    for rounding in ("rn", "rd", "ru", "rz"):
                        yield replace(plain, rounding=rounding)


SETUP = """
    .text
    .globl forms_run
    .type forms_run, @function
forms_run:
    push %rbx
    push %r12
    push %r13
    sub $80, %rsp
    lea in_c(%rip), %rax
    lea -64(%rax), %rbx
    lea 32(%rax), %r13
    mov %rax, %r12
    lea -400(%rax), %rcx
    mov $100, %edx
    lea -1000(%rax), %r8
    mov $488, %r9d
    vmovups in_c(%rip), %ymm0
    vmovups in_c+32(%rip), %ymm1
    vmovups %ymm0, 8(%rsp)
    vmovups %ymm1, 40(%rsp)
"""
FINISH = """
    vzeroupper
    add $80, %rsp
    pop %r13
    pop %r12
    pop %rbx
    ret
    .size forms_run, .-forms_run
"""


def source(forms: list[Form]) -> str:
    """Assembly of all `forms`; each is one FMA executed once."""
    lines = [SETUP]
    if any(form.evex for form in forms):
        lines += [f"kmovq masks+{8 * k}(%rip), %k{k}" for k in range(1, 8)]
    for index, form in enumerate(forms):
        lines += form.text(index)
        if index % 50 == 49:  # not one region of ten thousand instructions, but many
            lines += [f"jmp next_{index}", ".byte 0xcc", f"next_{index}:"]
    data = [".data", ".balign 64"]
    data += [f".globl {name}\n{name}: .skip 64" for name in ("in_a", "in_b", "in_c")]
    data += ["masks: " + "\n".join(f".quad {mask:#x}" for mask in MASKS)]
    data += [f".bss\n.balign 64\n.globl out\nout: .skip {64 * len(forms)}", f".data\n.globl form_count\nform_count: .quad {len(forms)}"]
    data += ['.section .note.GNU-stack, "", @progbits']
    return "\n".join([*lines, FINISH, *data]) + "\n"
