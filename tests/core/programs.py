"""Random guest programs: FMAs of every kind among loads, stores, moves, arithmetic, masks, side exits and loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import guest as guests
import lab
import numpy as np
from guest import KINDS, R, encode, fma_code, vec, with_mask
from iced_x86 import Code, Instruction, MemoryOperand

DATA_OFFSET = 0x8000  # constants that RIP-relative operands read


@dataclass
class Shape:
    """What a random program is made of."""

    evex: bool = True
    registers: int = 32  # vector registers in use
    length: int = 24
    loop: bool = False
    exits: float = 0.1  # chance of a side exit after an instruction
    fma: float = 0.55
    masks: float = 0.2
    memory: float = 0.3
    scalar: float = 0.15
    stores: bool = True
    accumulate: bool = False  # mostly 231 with few sources, as kernels do
    fp64: float = 0.05
    bf16: float = 0  # chance that an instruction is one of the CPU's own for BF16


class Writer:
    def __init__(self, rng: np.random.Generator, shape: Shape):
        self.rng, self.s = rng, shape
        self.base = lab.guest_base()
        self.items: list[tuple[str, Any]] = []  # ("insn", Instruction) | ("exit", cc) | ("label",) | ("back", cc)

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def reg(self) -> int:
        return int(self.rng.integers(self.s.registers))

    def mem(self, broadcast: bool = False, constant: float = 0.15) -> MemoryOperand:
        if self.chance(constant):
            at = self.base + DATA_OFFSET + 64 * int(self.rng.integers(4)) + 4 * int(self.rng.integers(4))
            return MemoryOperand(R.RIP, displ=at, displ_size=8, is_broadcast=broadcast)
        base = R.RDI if self.chance(0.6) else R.RSI
        step = 4 if broadcast or self.chance(0.3) else 32
        disp = step * int(self.rng.integers(-6, 10))
        if self.chance(0.1):
            return MemoryOperand(base, R.R8, 4, disp, 8 if disp else 0, broadcast)
        return MemoryOperand(base, displ=disp, displ_size=1 if -128 <= disp < 128 else 8, is_broadcast=broadcast)

    def bits(self) -> int:
        return int(self.rng.choice([128, 256, 512] if self.s.evex else [128, 256, 256]))

    def add(self, i: Instruction) -> None:
        self.items.append(("insn", i))

    def fma(self) -> None:
        s, rng = self.s, self.rng
        scalar = self.chance(s.scalar)
        bits = 128 if scalar else self.bits()
        evex = s.evex and (bits == 512 or self.chance(0.6))
        fp64 = self.chance(s.fp64)
        kind = "FMADD" if s.accumulate and self.chance(0.9) else str(rng.choice(KINDS[:4] if scalar else KINDS))
        form = "231" if s.accumulate and self.chance(0.9) else str(rng.choice(["132", "213", "231"]))
        regs = [self.reg(), self.reg(), self.reg()]
        if s.accumulate:
            third = max(1, s.registers // 3)
            regs = [int(rng.integers(third, s.registers)), int(rng.integers(third)), int(rng.integers(third))]
        if not evex:
            regs = [r % 16 for r in regs]
        code = fma_code(form, kind, bits, scalar, evex, fp64)
        broadcast = evex and not scalar and self.chance(0.4)
        if self.chance(s.memory):
            i = Instruction.create_reg_reg_mem(code, vec(regs[0], bits), vec(regs[1], bits), self.mem(broadcast))
        else:
            i = Instruction.create_reg_reg_reg(code, *(vec(r, bits) for r in regs))
            if evex and (bits == 512 or scalar) and self.chance(0.15):
                i.rounding_control = int(rng.integers(1, 5))
        if evex and self.chance(s.masks):
            with_mask(i, int(rng.integers(1, 8)), self.chance(0.4))
        self.add(i)

    def plain(self) -> None:
        s, rng = self.s, self.rng
        evex = s.evex
        bits = self.bits()
        pick = int(rng.integers(15))
        limit = s.registers if evex else min(16, s.registers)

        def v() -> int:
            return vec(int(rng.integers(limit)), bits)

        size = guests.SIZES[bits]
        if pick <= 2:  # load
            code = getattr(Code, f"EVEX_VMOVUPS_{size}_K1Z_{size}M{bits}" if evex else f"VEX_VMOVUPS_{size}_{size}M{bits}")
            i = Instruction.create_reg_mem(code, v(), self.mem())
            self.add(with_mask(i, int(rng.integers(1, 8)), self.chance(0.5)) if evex and self.chance(s.masks) else i)
        elif pick == 3 and bits > 128:  # broadcast load
            names = [f"EVEX_VBROADCASTSS_{size}_K1Z_XMMM32", f"EVEX_VBROADCASTSD_{size}_K1Z_XMMM64", f"EVEX_VBROADCASTF32X2_{size}_K1Z_XMMM64"]
            if not evex:
                names = [f"VEX_VBROADCASTSS_{size}_M32", "VEX_VBROADCASTSD_YMM_M64"]
            self.add(Instruction.create_reg_mem(getattr(Code, str(rng.choice(names))), v(), self.mem()))
        elif pick == 4 and bits > 128:  # broadcast of a register
            code = getattr(Code, f"EVEX_VBROADCASTSS_{size}_K1Z_XMMM32" if evex else f"VEX_VBROADCASTSS_{size}_XMM")
            self.add(Instruction.create_reg_reg(code, v(), vec(int(rng.integers(limit)), 128)))
        elif pick == 5 and s.stores:
            code = getattr(Code, f"EVEX_VMOVUPS_{size}M{bits}_K1Z_{size}" if evex else f"VEX_VMOVUPS_{size}M{bits}_{size}")
            self.add(Instruction.create_mem_reg(code, self.mem(constant=0), v()))
        elif pick == 6:
            code = getattr(Code, f"EVEX_VMOVAPS_{size}_K1Z_{size}M{bits}" if evex else f"VEX_VMOVAPS_{size}_{size}M{bits}")
            i = Instruction.create_reg_reg(code, v(), v())
            self.add(with_mask(i, int(rng.integers(1, 8)), False) if evex and self.chance(s.masks) else i)
        elif pick == 7:
            code = Code.VEX_VXORPS_YMM_YMM_YMMM256
            n = int(rng.integers(16))
            self.add(Instruction.create_reg_reg_reg(code, vec(n, 256), vec(n, 256), vec(n, 256)))
        elif pick == 8:
            op = str(rng.choice(["VADDPS", "VMULPS", "VMAXPS"]))
            tail = {"VMAXPS": "_SAE"}.get(op, "_ER") if bits == 512 else ""
            code = getattr(Code, f"EVEX_{op}_{size}_K1Z_{size}_{size}M{bits}B32{tail}" if evex else f"VEX_{op}_{size}_{size}_{size}M{bits}")
            self.add(Instruction.create_reg_reg_reg(code, v(), v(), v()))
        elif pick == 9:
            code = getattr(Code, f"EVEX_VSHUFPS_{size}_K1Z_{size}_{size}M{bits}B32_IMM8" if evex else f"VEX_VSHUFPS_{size}_{size}_{size}M{bits}_IMM8")
            self.add(Instruction.create_reg_reg_reg_u32(code, v(), v(), v(), int(rng.integers(256))))
        elif pick == 10:
            x, y = (vec(int(rng.integers(min(16, limit))), 128) for _ in range(2))
            code = [Code.MOVAPS_XMM_XMMM128, Code.ADDPS_XMM_XMMM128, Code.MOVSS_XMM_XMMM32][int(rng.integers(3))]
            self.add(Instruction.create_reg_reg(code, x, y))
        elif pick == 11:
            x, y, z = (vec(int(rng.integers(min(16, limit))), 128) for _ in range(3))
            if self.chance(0.5):
                self.add(Instruction.create_reg_mem(Code.VEX_VMOVSS_XMM_M32, x, self.mem()))
            else:
                self.add(Instruction.create_reg_reg_reg(Code.VEX_VMOVSS_XMM_XMM_XMM, x, y, z))
        elif pick == 12 and evex:
            self.add(Instruction.create_reg_reg(Code.VEX_KMOVW_KR_R32, R.K0 + int(rng.integers(1, 8)), R.EAX))
        elif pick == 13:
            r = [R.RAX, R.RDX, R.RBX, R.R9, R.R10][int(rng.integers(5))]
            code = [Code.ADD_RM64_IMM8, Code.SUB_RM64_IMM8, Code.XOR_RM64_IMM8, Code.CMP_RM64_IMM8][int(rng.integers(4))]
            self.add(Instruction.create_reg_i32(code, r, int(rng.integers(-100, 100))))
        else:
            r = [R.RDI, R.RSI][int(rng.integers(2))]
            self.add(Instruction.create_reg_mem(Code.LEA_R64_M, r, MemoryOperand(r, displ=int(rng.choice([-32, 4, 32])), displ_size=1)))

    def bf16(self) -> None:
        s, rng = self.s, self.rng
        bits = self.bits()
        size, memory = guests.SIZES[bits], self.chance(s.memory)
        pick = int(rng.integers(5))
        registers = [vec(self.reg(), bits) for _ in range(3)]
        mem = self.mem(self.chance(0.4))
        if pick == 0:
            code = getattr(Code, f"EVEX_VCVTNEPS2BF16_{'YMM' if bits == 512 else 'XMM'}_K1Z_{size}M{bits}B32")
            target = vec(self.reg(), max(128, bits // 2))
            i = Instruction.create_reg_mem(code, target, mem) if memory else Instruction.create_reg_reg(code, target, registers[0])
        else:
            name = "VCVTNE2PS2BF16" if pick == 1 else "VDPBF16PS"
            code = getattr(Code, f"EVEX_{name}_{size}_K1Z_{size}_{size}M{bits}B32")
            i = Instruction.create_reg_reg_mem(code, *registers[:2], mem) if memory else Instruction.create_reg_reg_reg(code, *registers)
        self.add(with_mask(i, int(rng.integers(1, 8)), self.chance(0.4)) if self.chance(s.masks) else i)

    def step(self) -> None:
        if self.s.bf16 and self.chance(self.s.bf16):
            self.bf16()
        else:
            self.fma() if self.chance(self.s.fma) else self.plain()
        if self.chance(self.s.exits):
            self.items.append(("exit", int(self.rng.choice(list(guests.CONDITIONS)))))

    def write(self) -> guests.Guest:
        head = int(self.rng.integers(0, 6)) if self.s.loop else 0
        for _ in range(head):
            self.step()
        entry_item = len(self.items)
        self.fma()
        for _ in range(self.s.length):
            self.step()
        if self.s.loop:
            self.add(Instruction.create_reg(Code.DEC_RM64, R.RCX))
            self.items.append(("back", 5))
            for _ in range(int(self.rng.integers(0, 3))):
                self.step()
        return self.assemble(entry_item)

    def behind_exit(self, number: int) -> list[Instruction]:
        """What is executed behind an exit: leaves its number in r11."""
        return [Instruction.create_reg_u32(Code.MOV_R32_IMM32, R.R11D, number)]

    def assemble(self, entry_item: int) -> guests.Guest:
        """Exits go to stubs after the code, which jump to the end."""
        code, fixups, entry = bytearray(), [], 0
        for n, (kind, what) in enumerate(self.items):
            if n == entry_item:
                entry = len(code)
            if kind == "insn":
                code += encode(what, self.base + len(code))
            else:
                fixups.append((len(code) + 2, kind))
                code += bytes([0x0F, 0x80 | what]) + bytes(4)
        tails = []
        if any(k == "exit" for _, k in fixups):
            tails.append(len(code) + 1)
            code += b"\xe9" + bytes(4)
        for n, (where, kind) in enumerate(fixups):
            if kind == "back":
                target = 0
            else:
                target = len(code)
                for i in self.behind_exit(n):
                    code += encode(i, self.base + len(code))
                code += b"\xe9" + bytes(4)
                tails.append(len(code) - 4)
            code[where : where + 4] = (target - where - 4).to_bytes(4, "little", signed=True)
        for where in tails:
            code[where : where + 4] = (len(code) - where - 4).to_bytes(4, "little", signed=True)
        rng = self.rng
        data = guests.random_values(rng, 128).tobytes()
        lab.place(data, DATA_OFFSET)
        g = guests.Guest.from_bytes(bytes(code), entry)
        g.excluded = [a for a, i in g.insns.items() if guests.is_fma(i) and rng.random() < 0.07]
        return g


def random_guest(rng: np.random.Generator, shape: Shape) -> guests.Guest:
    return Writer(rng, shape).write()
