"""What instructions do to the arithmetic flags, held against iced-x86 and the CPU; and loops that let flags through, which may change them only where
the code behind their exits replaces them before it reads any."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import guest as guests
import lab
import numpy as np
import pytest
from guest import FLAGS, R
from iced_x86 import Code, Decoder, Instruction, Mnemonic, RflagsBits
from test_core_bounded import Sums, check, emitted, is_bounded, prepared
from test_core_nans import Product

CARRY, AUXILIARY = 1, 16
NUMBERS = {RflagsBits.CF: CARRY, RflagsBits.PF: 4, RflagsBits.AF: AUXILIARY, RflagsBits.ZF: 64, RflagsBits.SF: 128, RflagsBits.OF: 2048}
EXIT_FLAGS = 1 << 10
OFF = lab.ALL_PASSES & ~EXIT_FLAGS
DEC = Instruction.create_reg(Code.DEC_RM64, R.RCX)

pytestmark = pytest.mark.skipif(not lab.HAS_AVX512, reason="needs AVX-512")

# ---- Single instructions.


def decode(code: bytes) -> lab.Insn | None:
    out = lab.Insn()
    return out if lab.lib.fase_lab_decode(code, len(code), 0, out) else None


def in_rflags(bits: int) -> int:
    """iced's numbering of flags to the CPU's."""
    return sum(number for bit, number in NUMBERS.items() if bits & bit)


def every_opcode() -> Iterator[bytes]:
    """Each opcode of the legacy, VEX and EVEX maps, under the prefixes that choose among instructions, with sixteen ModRM bytes."""
    tails = [bytes([modrm, 1]) + bytes(9) for modrm in (0, 8, 16, 24, 32, 40, 48, 56, 0xC1, 0xC8, 0xD0, 0xD9, 0xE2, 0xEA, 0xF3, 0xF8)]
    opcodes = [escape + bytes([op]) for escape in (b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a") for op in range(256)]
    for prefix, opcode, tail in itertools.product((b"", b"\x48", b"\x66", b"\xf2", b"\xf3", b"\xf3\x48"), opcodes, tails):
        yield prefix + opcode + tail
    for table, pp, w, wide, number, tail in itertools.product((1, 2, 3), range(4), (0, 1), (0, 1), range(256), tails):
        source = 15 if table == 1 else 14
        vex = bytes([0xC4, 0xE0 | table, w << 7 | source << 3 | wide << 2 | pp, number])
        evex = bytes([0x62, 0xF0 | table, w << 7 | 15 << 3 | 4 | pp, wide << 5 | 8, number])
        yield vex + tail
        yield evex + tail


def test_flags_of_every_opcode() -> None:
    """No read that iced knows is missing, and nothing is replaced that iced does not say so of, but AF by logical instructions: see below."""
    plain, logical, seen = 0, {Mnemonic.AND, Mnemonic.OR, Mnemonic.XOR, Mnemonic.TEST}, 0
    for code in every_opcode():
        theirs, ours = Decoder(64, code).decode(), decode(code)
        if theirs.is_invalid or ours is None or ours.flow != plain:
            continue
        seen += 1
        assert ours.length == theirs.len
        assert not in_rflags(theirs.rflags_read) & ~ours.flags_read, theirs
        replaced = in_rflags(theirs.rflags_written | theirs.rflags_cleared | theirs.rflags_set)
        replaced |= AUXILIARY if theirs.mnemonic in logical else 0
        assert not ours.flags_killed & FLAGS & ~replaced, theirs
    assert seen > 60000


CHANGING = {
    "and": "4821d0", "or": "4809d0", "xor": "4831d0", "test": "4885d0", "test imm": "48a944332211", "add": "4801d0", "sub": "4829d0",
    "cmp": "4839d0", "neg": "48f7d8", "inc": "48ffc0", "dec": "48ffc8", "mul": "48f7e2", "imul": "480fafc2", "bsf": "480fbcc2",
    "tzcnt": "f3480fbcc2", "lzcnt": "f3480fbdc2", "popcnt": "f3480fb8c2", "bt": "480fa3d0", "sahf": "9e", "stc": "f9", "clc": "f8",
    "adc": "4811d0", "sbb": "4819d0", "cmc": "f5", "xadd": "480fc1d0", "cmpxchg": "480fb1d3", "andn": "c4e2e8f2c3", "blsr": "c4e2e8f3c8",
    "bzhi": "c4e2f8f5c2", "vptest": "c4e27917c1", "vucomiss": "c5f82ec1", "shl 0": "48c1e000", "shl cl": "48d3e0", "rol": "48d1c0",
    "lea": "488d4001", "not": "48f7d0",
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGING)
def test_replaced_flags_do_not_depend_on_those_before(name: str) -> None:
    """On this CPU. What an instruction reads is the same both times."""
    code = bytes.fromhex(CHANGING[name])
    known = decode(code)
    assert known is not None
    assert known.length == len(code)
    rng = np.random.default_rng(0)
    buffer = guests.Buffer(rng)
    at = lab.place(code)
    for _ in range(40):
        state = guests.random_state(rng, buffer, True)
        other = state.copy()
        other.rflags ^= int(rng.integers(0, 4096)) & FLAGS & ~known.flags_read
        (x, _), (y, _) = lab.run(at, state), lab.run(at, other)
        assert not (x.rflags ^ y.rflags) & known.flags_killed


# ---- Loops.


def raw(text: str) -> Instruction:
    return Instruction.create_declare_byte(bytes.fromhex(text))


REPLACED = {
    "add": "4883c007", "sub": "4829d0", "cmp": "4839d0", "test": "4885d0", "neg": "48f7d8", "clc": "f8", "stc": "f9", "sahf": "9e",
    "imul": "480fafc2", "mul": "48f7e2", "bt": "480fa3d0", "popcnt": "f3480fb8c2", "tzcnt": "f3480fbcc2", "vptest": "c4e27917c1",
    "vucomiss": "c5f82ec1", "andn": "c4e2e8f2c3", "others first": "48ffc0 488d4001 0f94c0 4839d0 0f92c0", "vzeroupper": "c5f877 4839d0",
    "load": "488b07 4839d0", "jump": "eb02 0f0b 4839d0 0f92c0",
}  # fmt: skip
"""Code that replaces the carry flag, and may read it then."""
READ = {
    "nothing": "", "setc": "0f92c0", "setbe": "0f96c0 4839d0", "adc": "4811d0", "sbb": "4819c0", "cmovc": "480f42c2", "cmc": "f5 4839d0",
    "lahf": "9f", "rcl": "48d1d0", "jc": "7200 4839d0", "others first": "48ffc0 488d4001 0f92c0 4839d0", "inc": "48ffc0 0f92c0",
    "shift by 0": "48d3e0 0f92c0", "shift": "48c1e003", "bsf": "480fbcc2 0f92c0", "repeated 0 times": "f3a6 0f92c0", "branch": "7400 4839d0",
    "jump": "eb02 0f0b 0f92c0",
}  # fmt: skip
"""Code that reads the carry flag, or cannot be shown not to."""
UNKNOWN = {
    "return": "c3", "indirect jump": "ffe0", "indirect call": "ffd0", "pushf": "9c", "syscall": "0f05", "trap": "cc", "jrcxz": "e300",
    "invalid": "06", "called code reads it": "e803000000 4839d0 0f92c0",
}  # fmt: skip


def counted_down(seed: int, behind: str, bits: int = 512, others: int = 0) -> guests.Guest:
    """A loop of sums that ends in DEC. `behind`: in hexadecimal, after so many other instructions."""
    writer = Sums(seed, bits, rows=2, columns=6)
    writer.count, writer.behind = DEC, [*[raw("90")] * others, *([raw(behind)] if behind else [])]
    return writer.write()


def run_both_ways(guest: guests.Guest, seed: int) -> None:
    """With the carry flag set and clear before the loop."""
    for carry in (0, 1):
        buffer, state = prepared(seed)
        state.rflags = state.rflags & ~CARRY | carry
        check(guest, buffer, state, "bf16", [lab.Limits(vector_slots=40), lab.Limits(passes=OFF, vector_slots=40)])


@pytest.mark.parametrize("bits", [256, 512])
@pytest.mark.parametrize("name", REPLACED)
def test_a_flag_that_nobody_reads(name: str, bits: int) -> None:
    guest = counted_down(1, REPLACED[name], bits)
    assert is_bounded(guest, "bf16")
    assert not is_bounded(guest, "bf16", lab.Limits(passes=OFF, vector_slots=40))
    run_both_ways(guest, 1)


@pytest.mark.parametrize("bits", [256, 512])
@pytest.mark.parametrize("name", READ)
def test_a_flag_that_may_be_read(name: str, bits: int) -> None:
    """The loop is what it is without the pass."""
    guest = counted_down(2, READ[name], bits)
    assert not is_bounded(guest, "bf16")
    assert emitted(guest, "bf16", lab.Limits(vector_slots=40)) == emitted(guest, "bf16", lab.Limits(passes=OFF, vector_slots=40))
    run_both_ways(guest, 2)


@pytest.mark.parametrize("name", UNKNOWN)
def test_ways_that_are_not_followed(name: str) -> None:
    assert not is_bounded(counted_down(3, UNKNOWN[name] + REPLACED["cmp"]), "bf16")


def test_how_far_is_looked() -> None:
    """A few hundred instructions, into what is called too."""
    assert is_bounded(counted_down(4, REPLACED["cmp"], others=200), "bf16")
    assert not is_bounded(counted_down(4, REPLACED["cmp"], others=300), "bf16")
    assert is_bounded(counted_down(4, "e803000000 0f92c0 4839d0 c3"), "bf16")
    assert not is_bounded(counted_down(4, "ebfe"), "bf16")


def test_a_region_depends_on_what_was_looked_at() -> None:
    """A later write there must make it invalid: the jump and what it leads to, not what lies between nor what follows."""
    guest = counted_down(5, "90 eb02 0f0b 4839d0 0f92c0")
    end = guest.end
    t = lab.translate(guest.entry, "bf16", lab.AVX512, lab.Limits(vector_slots=40))
    covered = {a for n in range(t.extents) for a in range(*t.extent[n])}
    behind = range(end - 11, end)
    assert [a in covered for a in behind] == [True] * 3 + [False] * 2 + [True] * 3 + [False] * 3
    assert set(range(guest.base, end - 11)) <= covered


class Leaving(Sums):
    """Counts down, and has exits on the way, on counters of their own. `codes`: names of what is behind each exit, and behind the loop."""

    def __init__(self, seed: int, bits: int, replaced: float):
        super().__init__(seed, bits, rows=2, columns=int(np.random.default_rng(seed).integers(2, 7)))
        self.count = DEC
        self.replaced = replaced
        self.leaving = float(self.rng.choice([0.1, 0.3]))
        self.exits_read: list[bool] = []
        self.behind = [self.some_code()]

    def some_code(self) -> Instruction:
        reads = not self.chance(self.replaced)
        self.exits_read.append(reads)
        names = READ if reads else REPLACED
        return raw(names[str(self.rng.choice([n for n in names if n != "nothing"]))])

    def multiply(self, sum_: int, column: int, row: int) -> None:
        super().multiply(sum_, column, row)
        if self.width == 512 and self.chance(self.leaving):
            counter = [R.R9, R.R10, R.R12, R.R13][int(self.rng.integers(4))]
            self.add(Instruction.create_reg(Code.DEC_RM64 if self.chance(0.5) else Code.INC_RM64, counter))
            self.items.append(("exit", int(self.rng.choice([4, 8]))))

    def behind_exit(self, number: int) -> list[Instruction]:
        return [*super().behind_exit(number), self.some_code()]


@pytest.mark.parametrize("seed", range(60))
def test_random_exits(seed: int) -> None:
    """Both emitters, leaving at any exit, or not before the end; with few numbers that are not ordinary."""
    rng = np.random.default_rng(seed)
    writer = Leaving(seed, int(rng.choice([256, 512, 512])), float(rng.choice([1, 1, 0.7])))
    guest = writer.write()
    assert is_bounded(guest, "bf16") == (not any(writer.exits_read))
    for run in range(6):
        buffer, state = prepared(seed + 100 * run, passes=int(rng.integers(1, 6)))
        words = np.frombuffer(buffer.initial, np.uint32).copy()
        words[rng.integers(0, words.size, 6)] = rng.choice(np.array([0, 1 << 31, 0x7FC00000, 1, 0x7F800000], np.uint32), 6)
        buffer.initial = words.tobytes()
        for counter in (9, 10, 12, 13):
            state.gpr[counter] = int(rng.choice([1 << 40, 1, 2, 3, 2**64 - 1, 2**64 - 3]))
        check(guest, buffer, state, "bf16")
        check(guest, buffer, state, "mp")
        if writer.width == 256:
            check_avx2(guest, buffer, state)


def check_avx2(guest: guests.Guest, buffer: guests.Buffer, state: lab.State) -> None:
    buffer.reset()
    expected = guests.Oracle(guest, "bf16").run(state.copy())
    got, fault, _ = guests.emulate(guest, state.copy(), "bf16", lab.AVX2, lab.Limits(vector_slots=40))
    assert not fault.rip
    assert guests.differences(expected, got) == []


@pytest.mark.parametrize("bits", [256, 512])
def test_tests_of_factors(bits: int) -> None:
    """Those for NaNs want dead flags too."""
    tested = {}
    for name, behind in (("add", REPLACED["add"]), ("setc", READ["setc"])):
        writer = Product(bits)
        writer.count, writer.behind = DEC, [raw(behind)]
        guest = writer.write()
        guest.excluded = []
        tested[name] = "vfpclassps" in emitted(guest, "mp", lab.Limits(vector_slots=40))
    assert tested == {"add": True, "setc": False}
