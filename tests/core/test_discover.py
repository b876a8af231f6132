"""Discovery: every FMA that can run is found, nothing else is; the oracles are iced-x86 and labels in hand-written assembly."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import images
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iced_x86 import Decoder
from lab import lib

FMA = "vfmadd231ps ymm0, ymm1, ymm2"
FMA_BYTES = ".byte 0xc4, 0xe2, 0x75, 0xb8, 0xc2"  # the same as data
EVEX_BYTES = ".byte 0x62, 0xf2, 0x75, 0x48, 0xb8, 0xc2"

# --- the byte pattern

FMA_OPCODES = [0x96, 0x98, 0x9F, 0xA6, 0xAC, 0xB7, 0xB9, 0xBF, 0x95, 0xB5, 0xC0]
BF16_OPCODES = [0x52, 0x72, 0x72]


def test_the_pattern_agrees_with_a_decoder() -> None:
    rng = random.Random(1)
    fmas = bf16 = 0
    for _ in range(40000):
        opcode = rng.randrange(256) if rng.random() < 0.2 else rng.choice(FMA_OPCODES + BF16_OPCODES)
        if rng.random() < 0.5:
            code = bytes([0xC4, rng.randrange(8) << 5 | rng.choice([1, 2, 2, 2, 3, 18]), rng.randrange(256), opcode])
        else:
            map_byte = rng.choice([0x02, 0x02, 0x02, 0x01, 0x03, 0x05, 0x06]) | rng.choice([0xF0, 0x90, 0x50])
            code = bytes([0x62, map_byte, rng.randrange(256) | rng.choice([0, 4, 5]), rng.randrange(256), opcode])
        code += bytes([0xC0 | rng.randrange(64)]) + bytes(10)
        is_fma = next(iter(Decoder(64, code, ip=0))).mnemonic in images.FMA_MNEMONICS
        looks = bool(lib.fase_lab_looks_like_fma(code, len(code)))
        assert looks or not is_fma, code.hex()
        if looks and not is_fma:  # the same opcode in an encoding that is undefined (reserved bits, mask 0 with z...)
            assert next(iter(Decoder(64, code, ip=0))).is_invalid, code.hex()
        fmas += is_fma
        if is_fma and code[3 if code[0] == 0xC4 else 4] in BF16_OPCODES:
            bf16 += 1
    assert fmas > 1000
    assert bf16 > 20


def naive_any(data: bytes, n: int) -> bool:
    return any(lib.fase_lab_looks_like_fma(data[i:], len(data) - i) for i in range(n))


@settings(max_examples=300, deadline=None)
@given(
    length=st.integers(0, 140),
    tail=st.integers(0, 20),
    plant=st.lists(st.tuples(st.integers(0, 140), st.sampled_from(["c4e275b8c2", "62f27548b8c2", "c4e2f998", "c4c20196", "62", "c4e2"])), max_size=3),
    seed=st.integers(0, 2**32),
)
def test_the_scan_equals_the_naive_one(length: int, tail: int, plant: list[tuple[int, str]], seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(rng.choice([0x62, 0xC4, 0xE2, 0xF2, 0x75, 0x98, rng.randrange(256)]) for _ in range(length + tail))
    for at, text in plant:
        piece = bytes.fromhex(text)
        if at + len(piece) <= len(data):
            data[at : at + len(piece)] = piece
    buffer = np.frombuffer(bytes(data) or b"\0", np.uint8).copy()
    assert bool(lib.fase_lab_any_fma_pattern(buffer.ctypes.data, length, tail)) == naive_any(bytes(data), length)


# --- functions


def test_data_after_the_end_is_left_alone(tmp_path: Path) -> None:
    p = images.assemble(tmp_path, f"f: vmovups ymm1, [rip + table]\nsite1: {FMA}\nret\ntable: {FMA_BYTES}\nret\nend:")
    found = p.function()
    assert found.at() == p.starting("site")
    assert found.unconfirmed.tolist() == [p.label["table"]]


def test_bf16_instructions_are_sites(tmp_path: Path) -> None:
    """Kind and length; the VEX form (AVX-NE-CONVERT) as bytes, since the decoder that core uses does not know it."""
    forms = {
        "vdpbf16ps zmm1, zmm2, zmm3": 1, "vdpbf16ps xmm17{k3}, xmm2, dword ptr [rax + rcx*4 + 64]{1to4}": 1, "vcvtneps2bf16 ymm1, zmm3": 2,
        "vcvtne2ps2bf16 ymm20, ymm2, ymmword ptr [rip + f]": 2, ".byte 0xc4, 0xe2, 0x7a, 0x72, 0xc8": 2,
        ".byte 0x67, 0xc4, 0xa2, 0x7e, 0x72, 0x0c, 0x86": 2, "vdpbf16ps ymm1, ymm2, ymmword ptr [eax]": 1,
    }  # fmt: skip
    others = ["vpdpwssd zmm1, zmm2, zmm3", "vpshrdvd zmm1, zmm2, zmm3", "vbroadcastss zmm1, xmm2", "vcvtps2pd zmm1, ymm2"]
    lines = [f"site{i}: {text}\n{other}" for (i, text), other in zip(enumerate(forms), others * 2, strict=False)]
    p = images.assemble(tmp_path, "f:\n" + "\n".join(lines) + "\nret\nend:")
    found = p.function()
    assert found.at() == p.starting("site")
    assert [int(s["bf16"]) for s in found.sites] == list(forms.values())
    assert images.sites_of(found.sites) == images.iced_sites(p.image.bytes_at(images.BASE, p.label["end"]), images.BASE)
    assert len(found.unconfirmed) == 0


def test_data_jumped_over_is_left_alone(tmp_path: Path) -> None:
    p = images.assemble(tmp_path, f"f: jmp over\ntable: {FMA_BYTES}\n{EVEX_BYTES}\nover: site1: {FMA}\nret\nend:")
    found = p.function()
    assert found.at() == p.starting("site")
    assert found.unconfirmed.tolist() == [p.label["table"], p.label["table"] + 5]


def test_bytes_inside_instructions_are_no_sites(tmp_path: Path) -> None:
    p = images.assemble(tmp_path, f"f: movabs rax, 0xc2b875e2c4909090\nmov eax, 0xb875e2c4\n{FMA_BYTES}\nsite1: {FMA}\nret\nend:")
    assert p.function().at() == [p.label["site1"] - 5, p.label["site1"]]
    assert len(p.function().unconfirmed) == 0


def test_lengths_and_widths(tmp_path: Path) -> None:
    forms = [
        "vfmadd132ss xmm0, xmm1, dword ptr [rax]", "vfmadd213pd ymm8, ymm9, ymmword ptr [r10 + r11*8 + 0x12345]", "vfnmsub231sd xmm1, xmm2, xmm3",
        "vfmaddsub213ps zmm20{k3}{z}, zmm21, zmmword ptr [rip + f]", "vfmsubadd132pd zmm0, zmm1, qword ptr [rax]{1to8}",
        "vfnmadd231ps zmm31, zmm30, zmm29, {rz-sae}", "vfmadd231ps ymm0, ymm1, ymmword ptr fs:[rax]", "vfmadd231ps ymm0, ymm1, ymmword ptr [eax]",
    ]  # fmt: skip
    p = images.assemble(tmp_path, "f:\n" + "\n".join(f"site{i}: {text}\nnop" for i, text in enumerate(forms)) + "\nret\nend:")
    assert images.sites_of(p.function().sites) == images.iced_sites(p.image.bytes_at(images.BASE, p.label["end"]), images.BASE)
    assert p.function().at() == p.starting("site")


SWITCH = f"""
f: lea rdx, [rip + targets]
   movsxd rax, dword ptr [rdx + rdi*4]
   add rax, rdx
   jmp rax
   nop
case0: site1: {FMA}
   ret
   .byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0
case1: nop
   site2: {FMA}
   jmp case0
end:
   .section .rodata
targets: .long case0 - targets, case1 - targets
"""


def test_cases_of_a_switch_are_found(tmp_path: Path) -> None:
    p = images.assemble(tmp_path, SWITCH)
    assert p.function().at() == p.starting("site")


def test_a_table_inside_the_function_is_no_code(tmp_path: Path) -> None:
    p = images.assemble(
        tmp_path,
        f"f: lea rdx, [rip + targets]\nmovsxd rax, dword ptr [rdx + rdi*4]\nadd rax, rdx\njmp rax\n.balign 4\n"
        f"targets: .long case0 - targets, case1 - targets, 0x06060606, -1\n.balign 16\n"
        f"case0: site1: {FMA}\nret\ncase1: site2: {FMA}\nret\nend:",
    )  # fmt: skip
    assert p.function().at() == p.starting("site")


def test_landing_pads_are_code(tmp_path: Path) -> None:
    p = images.assemble(tmp_path, f"f: site1: {FMA}\nret\npad: mov rdi, rax\nsite2: {FMA}\nud2\nend:")
    assert p.function(landing_pads=True).at() == p.starting("site")
    assert p.function().at() == [p.label["site1"]]
    assert p.function(entries=["pad"]).at() == p.starting("site")


def test_a_call_that_does_not_return(tmp_path: Path) -> None:
    p = images.assemble(tmp_path, f"f: test edi, edi\nje good\ncall other\n.byte 0x06, 0x07\n{FMA_BYTES}\ngood: site1: {FMA}\nret\nend:\nother: ud2")
    assert p.function().at() == p.starting("site")


def test_code_after_an_unknown_instruction_is_swept(tmp_path: Path) -> None:
    unknown = ".byte 0x0f, 0x04"  # no instruction, today
    p = images.assemble(tmp_path, f"f: site1: {FMA}\n{unknown}\nsite2: {FMA}\nret\nend:")
    assert p.function().at() == p.starting("site")


def test_loops_and_tails(tmp_path: Path) -> None:
    p = images.assemble(
        tmp_path,
        f"f: test rdi, rdi\njle out\njmp check\nbody: site1: {FMA}\nadd rax, 8\ncheck: cmp rax, rdi\njl body\nsite2: {FMA}\nloop body\n"
        f"jrcxz tail\nout: ret\ntail: site3: {FMA}\njmp qword ptr [rip + end]\nend: {FMA_BYTES}",
    )  # fmt: skip
    assert p.function().at() == p.starting("site")


# --- code of unknown extent


def page(p: images.Program) -> tuple[int, int]:
    return (images.BASE, images.BASE + (p.size + 4095) // 4096 * 4096)


def test_a_jit_kernel_with_its_table(tmp_path: Path) -> None:
    p = images.assemble(
        tmp_path,
        f"f: lea rax, [rip + table]\nloop1: site1: {FMA}\nvaddps ymm0, ymm0, [rax + 64]\ndec rdi\njnz loop1\nret\n.balign 64\n"
        f"table: .fill 16, 4, 0x3f800000\n.fill 16, 4, 0xc2b875e2\n{FMA_BYTES}\nret\n.fill 8, 4, 0x42b17218",
    )  # fmt: skip
    found = p.image.loose(images.BASE, page(p))
    assert found.at() == p.starting("site")
    assert len(found.unconfirmed) > 0


def test_functions_that_share_a_page(tmp_path: Path) -> None:
    other = "push rbx\nmov rbx, rdi\nagain{n}: site{n}: {fma}\nadd rbx, 4\ncmp rbx, rsi\njb again{n}\npop rbx\nret\n.balign 16, 0xcc\n"
    source = other.format(n=1, fma=FMA) + f"entry: site2: {FMA}\nret\n.balign 16\n" + other.format(n=3, fma=FMA) + f"last: site4: {FMA}\nret"
    p = images.assemble(tmp_path, source)
    assert p.image.loose(p.label["entry"], page(p)).at() == p.starting("site")


def test_a_site_where_looking_ends_has_its_length(tmp_path: Path) -> None:
    looked_at = 4096 + (64 << 10)  # the page, and how far around it descent goes
    p = images.assemble(tmp_path, f"f: .fill {looked_at - 2}, 1, 0x90\nsite1: {FMA}\nsite2: {FMA}\nret\nend:")
    found = p.image.loose(images.BASE, page(p), (images.BASE, images.BASE + 4096))
    assert images.sites_of(found.sites) == {p.label["site1"]: (p.label["site2"] - p.label["site1"], False)}


def test_constants_that_code_reads_are_data_however_they_look(tmp_path: Path) -> None:
    p = images.assemble(tmp_path, f"f: vmovups ymm1, [rip + table]\nsite1: {FMA}\nret\n.balign 16\ntable: {FMA_BYTES}\nret\n.fill 26, 1, 0x90")
    found = p.image.loose(images.BASE, page(p))
    assert found.at() == p.starting("site")
    assert found.unconfirmed.tolist() == [p.label["table"]]


def test_an_unresolved_jump_lets_nothing_escape(tmp_path: Path) -> None:
    source = f"f: lea rdx, [rip + case0]\nadd rdx, rdi\njmp rdx\n.balign 16\ncase0: site1: {FMA}\njmp rcx\n.balign 16\nsite2: {FMA}\nret"
    p = images.assemble(tmp_path, source)
    assert p.image.loose(images.BASE, page(p)).at() == p.starting("site")


def test_calls_into_the_same_buffer_are_followed(tmp_path: Path) -> None:
    p = images.assemble(tmp_path, f"f: call g\nret\n.byte 6, 6, 6\ng: site1: {FMA}\nret")
    assert p.image.loose(images.BASE, page(p)).at() == p.starting("site")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=8, max_size=400), st.integers(1, 16), st.integers(0, 2**32))
def test_tables_of_floats_are_never_code(values: list[float], repeat: int, seed: int) -> None:
    """A kernel and a table as a JIT writes it, with an FMA's bytes in some lanes."""
    rng = random.Random(seed)
    lanes = [struct.pack("<f", v) for v in values for _ in range(repeat)]
    for _ in range(rng.randrange(4)):
        lanes[rng.randrange(len(lanes))] = bytes.fromhex(rng.choice(["c4e275b8", "62f27548", "c4e27998"]))
    kernel = bytes.fromhex("488d0539000000c4e275b8c248ffcf75f6c3")  # lea rax, [rip + table]; FMA; dec rdi; jnz; ret
    code = kernel + bytes(64 - len(kernel)) + b"".join(lanes)
    image = images.Image().add(images.BASE, code)
    assert image.loose(images.BASE, (images.BASE, images.BASE + len(code))).at() == [images.BASE + 7]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 2**32), st.booleans())
def test_any_bytes_are_survived_and_sites_decode(data: bytes, seed: int, landing_pads: bool) -> None:
    rng = random.Random(seed)
    pieces = [data[i : i + 20] for i in range(0, len(data), 20)]
    code = b"".join(p + bytes.fromhex(rng.choice(["c4e275b8c2", "62f27548b8c2", "c3", "7505", "ffe0"])) for p in pieces) or b"\xc3"
    image = images.Image().add(images.BASE, code)
    end = images.BASE + len(code)
    for found in (image.function(images.BASE, end, landing_pads), image.loose(rng.randrange(images.BASE, end), (images.BASE, end))):
        for at, (length, fp64) in images.sites_of(found.sites).items():
            assert images.iced_sites(code[at - images.BASE : at - images.BASE + length], at) == {at: (length, fp64)}
        assert not set(found.at()) & set(found.unconfirmed.tolist())


# --- real code


def differences(image: images.Image, every: int) -> tuple[int, list[int]]:
    """Sites of a library against a linear sweep of each function by iced-x86; the sweep is right where compilers put no data among code."""
    functions = image.functions()
    ours = image.survey()
    bounds = np.searchsorted(ours["function"], functions["begin"]), np.searchsorted(ours["function"], functions["end"])
    total, wrong = 0, []
    interesting = 0
    for f, low, high in zip(functions, *bounds, strict=True):
        code = image.bytes_at(int(f["begin"]), int(f["end"]))
        if low == high and b"\xc4" not in code and b"\x62" not in code:
            continue
        buffer = np.frombuffer(code, np.uint8)
        if low == high and not lib.fase_lab_any_fma_pattern(buffer.ctypes.data, len(buffer), 0):
            continue
        interesting += 1
        if interesting % every:
            continue
        expected = images.iced_sites(code, int(f["begin"]))
        if images.sites_of(ours[low:high]) != expected:
            wrong.append(int(f["begin"]))
        total += len(expected)
    return total, wrong


def test_openblas() -> None:
    total, wrong = differences(images.openblas(), 1)
    assert wrong == []
    assert total > 20000


@pytest.mark.parametrize("name", ["libm.so.6", "libmvec.so.1"])
def test_libm(name: str) -> None:
    total, wrong = differences(images.Image().load(images.system_library(name)), 1)
    assert wrong == []
    assert total > 200


def test_torch() -> None:
    total, wrong = differences(images.torch_cpu(), 25)
    assert wrong == []
    assert total > 10000


@pytest.mark.nightly
def test_all_of_torch() -> None:
    total, wrong = differences(images.torch_cpu(), 1)
    assert wrong == []
    assert total > 500000
