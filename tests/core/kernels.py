"""Random loops as matrix products have them: FMAs in pairs, with everything around them that a compiler or an author may put there."""

from __future__ import annotations

import guest as guests
import numpy as np
import programs
from guest import R, fma_code, vec
from iced_x86 import Code, Instruction, MemoryOperand

ROWS = R.R13
"""Advances through memory; the other operands stay where they are."""


class Kernel(programs.Writer):
    """Accumulators ymm8-ymm15 in pairs, rows ymm0-ymm3, factors ymm4-ymm6, ymm7 for noise.

    `noise`: the chance of another instruction after each. Whether 256-bit code can be widened is left to chance. `bits`: 512 for AVX-512.
    """

    def __init__(self, rng: np.random.Generator, noise: float, bits: int = 256):
        super().__init__(rng, programs.Shape(evex=False, registers=16))
        self.noise, self.width = noise, bits
        self.exits = float(rng.choice([0, 0, 0.1]))

    def at(self, base: int, disp: int) -> MemoryOperand:
        return MemoryOperand(base, displ=disp, displ_size=1 if -128 <= disp < 128 else 8)

    def put(self, i: Instruction) -> None:
        self.add(i)
        if self.chance(self.noise):
            self.disturb()
        if self.chance(self.exits):
            self.items.append(("exit", int(self.rng.choice(list(guests.CONDITIONS)))))

    def disturb(self) -> None:
        """Reads, replaces or rearranges one of the kernel's registers, or has nothing to do with them."""
        any_register, scratch = int(self.rng.integers(16)), 7
        pick = int(self.rng.integers(9))
        y = vec(any_register, 256)
        if pick == 0:
            self.add(Instruction.create_reg_reg_reg(Code.VEX_VXORPS_YMM_YMM_YMMM256, y, y, y))
        elif pick == 1:
            self.add(Instruction.create_reg_reg_reg(Code.VEX_VADDPS_YMM_YMM_YMMM256, vec(scratch, 256), y, vec(int(self.rng.integers(16)), 256)))
        elif pick == 2:
            self.add(Instruction.create_reg_mem(Code.VEX_VMOVUPS_YMM_YMMM256, y, self.mem()))
        elif pick == 3:
            self.add(Instruction.create_mem_reg(Code.VEX_VMOVUPS_YMMM256_YMM, self.at(R.RSI, 32 * int(self.rng.integers(-4, 4))), y))
        elif pick == 4:
            self.add(Instruction.create_reg_reg(Code.VEX_VMOVAPS_YMM_YMMM256, y, vec(int(self.rng.integers(16)), 256)))
        elif pick == 5:
            self.add(Instruction.create_reg_i32(Code.ADD_RM64_IMM8, R.RAX, 3))
        elif pick == 6:
            self.add(Instruction.create_mem(Code.PREFETCHT0_M8, self.at(R.RSI, 512)))
        elif pick == 7:
            x, z = (vec(int(self.rng.integers(16)), 128) for _ in range(2))
            self.add(Instruction.create_reg_reg_reg(fma_code("231", "FMADD", 128, True, False), x, vec(any_register, 128), z))
        else:
            self.fma()

    def broadcast(self, register: int, disp: int) -> None:
        narrow = [Code.VEX_VBROADCASTSS_YMM_M32, Code.VEX_VBROADCASTSD_YMM_M64, Code.VEX_VBROADCASTF128_YMM_M128, Code.VEX_VMOVUPS_YMM_YMMM256]
        wide = [
            *(Code.EVEX_VBROADCASTSS_ZMM_K1Z_XMMM32, Code.EVEX_VBROADCASTSD_ZMM_K1Z_XMMM64),
            *(Code.EVEX_VBROADCASTF32X4_ZMM_K1Z_M128, Code.EVEX_VMOVUPS_ZMM_K1Z_ZMMM512),
        ]
        code = int(self.rng.choice(narrow if self.width == 256 else wide, p=[0.6, 0.2, 0.1, 0.1]))
        self.put(Instruction.create_reg_mem(code, vec(register, self.width), self.at(R.RSI, disp)))

    def fma_code(self, form: str, kind: str) -> int:
        return fma_code(form, kind, self.width, False, self.width == 512)

    def rows(self, disp: int) -> None:
        distance = int(self.rng.choice([32, 32, 32, 64, -32]))
        loads = [(0, disp), (1, disp + distance)]
        if self.chance(0.15):
            loads.reverse()
        for register, where in loads:
            code = Code.VEX_VMOVUPS_YMM_YMMM256 if self.width == 256 else Code.EVEX_VMOVUPS_ZMM_K1Z_ZMMM512
            self.put(Instruction.create_reg_mem(code, vec(register, self.width), self.at(ROWS, where)))

    def move(self, register: int) -> None:
        """As unrolled loops go on to the next operands."""
        distance = int(self.rng.choice([-16, 8, 16, 16]))
        pick = int(self.rng.integers(3))
        if pick == 0:
            self.put(Instruction.create_reg_i32(Code.ADD_RM64_IMM8, register, distance))
        elif pick == 1:
            self.put(Instruction.create_reg_i32(Code.SUB_RM64_IMM8, register, -distance))
        else:
            self.put(Instruction.create_reg_mem(Code.LEA_R64_M, register, MemoryOperand(register, displ=distance, displ_size=1)))

    def columns(self, disp: int) -> None:
        form, kind = str(self.rng.choice(["231", "231", "231", "213"])), str(self.rng.choice(guests.KINDS[:4]))
        code = self.fma_code(form, kind)
        direct = self.chance(0.2)
        pending: list[Instruction] = []
        for column in range(int(self.rng.integers(1, 5))):
            factor = 4 + column % int(self.rng.integers(1, 4))
            self.broadcast(factor, disp + 4 * column)
            for half in range(2):
                target, row, by = (vec(n, self.width) for n in (8 + 2 * column + half, half, factor))
                if direct:
                    i = Instruction.create_reg_reg_mem(code, target, by, self.at(ROWS, disp + 32 * half))
                else:
                    i = Instruction.create_reg_reg_reg(code, target, *((by, row) if self.chance(0.9) else (row, by)))
                pending.append(i)
            if self.chance(0.8):
                self.flush(pending)
        self.flush(pending)

    def flush(self, pending: list[Instruction]) -> None:
        if self.chance(0.2):
            pending.sort(key=lambda i: guests.number(i.op0_register) % 2)
        for i in pending:
            self.put(i)
        pending.clear()

    def write(self) -> guests.Guest:
        self.broadcast(4, 0)
        self.rows(0)
        entry = len(self.items)
        for half in range(2):
            self.add(Instruction.create_reg_reg_reg(self.fma_code("231", "FMADD"), *(vec(n, self.width) for n in (8 + half, 4, half))))
        for step in range(int(self.rng.integers(1, 4))):
            self.columns(16 * step)
            if self.chance(0.7):
                self.rows(64 * step)
            if self.chance(0.3):
                self.move(R.RSI)
        self.put(Instruction.create_reg_i32(Code.ADD_RM64_IMM8, ROWS, 64))
        self.add(Instruction.create_reg(Code.DEC_RM64, R.RCX))
        self.items.append(("back", 5))
        return self.assemble(entry)
