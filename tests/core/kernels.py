"""Random loops as matrix products have them: 256-bit FMAs in pairs, with everything around them that a compiler or an author may put there."""

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

    `noise`: the chance of another instruction after each. Whether the code can be widened is left to chance.
    """

    def __init__(self, rng: np.random.Generator, noise: float):
        super().__init__(rng, programs.Shape(evex=False, registers=16))
        self.noise = noise
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
        kind = self.rng.random()
        if kind < 0.7:
            self.put(Instruction.create_reg_mem(Code.VEX_VBROADCASTSS_YMM_M32, vec(register, 256), self.at(R.RSI, disp)))
        elif kind < 0.8:
            self.put(Instruction.create_reg_mem(Code.VEX_VBROADCASTSD_YMM_M64, vec(register, 256), self.at(R.RSI, disp)))
        elif kind < 0.9:
            self.put(Instruction.create_reg_mem(Code.VEX_VBROADCASTF128_YMM_M128, vec(register, 256), self.at(R.RSI, disp)))
        else:
            self.put(Instruction.create_reg_mem(Code.VEX_VMOVUPS_YMM_YMMM256, vec(register, 256), self.at(R.RSI, disp)))

    def rows(self, disp: int) -> None:
        distance = int(self.rng.choice([32, 32, 32, 64, -32]))
        loads = [(0, disp), (1, disp + distance)]
        if self.chance(0.15):
            loads.reverse()
        for register, where in loads:
            self.put(Instruction.create_reg_mem(Code.VEX_VMOVUPS_YMM_YMMM256, vec(register, 256), self.at(ROWS, where)))

    def columns(self, disp: int) -> None:
        form, kind = str(self.rng.choice(["231", "231", "231", "213"])), str(self.rng.choice(guests.KINDS[:4]))
        code = fma_code(form, kind, 256, False, False)
        direct = self.chance(0.2)
        pending: list[Instruction] = []
        for column in range(int(self.rng.integers(1, 5))):
            factor = 4 + column % int(self.rng.integers(1, 4))
            self.broadcast(factor, disp + 4 * column)
            for half in range(2):
                target, row = vec(8 + 2 * column + half, 256), vec(half, 256)
                if direct:
                    i = Instruction.create_reg_reg_mem(code, target, vec(factor, 256), self.at(ROWS, disp + 32 * half))
                else:
                    i = Instruction.create_reg_reg_reg(code, target, *((vec(factor, 256), row) if self.chance(0.9) else (row, vec(factor, 256))))
                pending.append(i)
            if self.chance(0.8):
                self.flush(pending)
        self.flush(pending)

    def flush(self, pending: list[Instruction]) -> None:
        if self.chance(0.2):
            pending.sort(key=lambda i: (i.op0_register - R.YMM8) % 2)
        for i in pending:
            self.put(i)
        pending.clear()

    def write(self) -> guests.Guest:
        self.broadcast(4, 0)
        self.rows(0)
        entry = len(self.items)
        self.add(Instruction.create_reg_reg_reg(fma_code("231", "FMADD", 256, False, False), vec(8, 256), vec(4, 256), vec(0, 256)))
        self.put(Instruction.create_reg_reg_reg(fma_code("231", "FMADD", 256, False, False), vec(9, 256), vec(4, 256), vec(1, 256)))
        for step in range(int(self.rng.integers(1, 4))):
            self.columns(16 * step)
            if self.chance(0.7):
                self.rows(64 * step)
        self.put(Instruction.create_reg_i32(Code.ADD_RM64_IMM8, ROWS, 64))
        self.add(Instruction.create_reg(Code.DEC_RM64, R.RCX))
        self.items.append(("back", 5))
        return self.assemble(entry)
