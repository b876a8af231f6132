"""Scope: the insides of transcendental functions are told from arithmetic, by name and by data flow. Oracles: symbol names and sources."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import images
import pytest

# --- names


@pytest.mark.parametrize(
    "name",
    [
        "exp", "expf", "expl", "log1p", "log1pf", "tanhf", "sincosf", "powf", "cbrt", "erf", "erfcf", "lgammaf", "tgamma", "exp10f", "atan2f",
        "__expf_fma", "__sinf_fma", "__ieee754_exp_fma", "__ieee754_powf_fma", "__exp_finite", "__tanh_fma", "__kernel_sinf_fma", "__exp1_fma",
        "_ZGVdN8v_expf", "_ZGVeN16vv_powf", "_ZGVdN8v_expf_avx2", "_ZGVdN8vl4l4_sincosf", "_ZGVeN16v_Sleef_expf_u10",
        "Sleef_expf16_u10", "Sleef_finz_sinf16_u35avx512f", "Sleef_powf8_u10avx2", "disp_expf8_u10",
        "__svml_expf16", "__svml_sincosf8_l9", "__svml_tanhf16_ha_z0", "vsExp", "vmsTanh", "vdLn", "vsexp_cout_rare",
        "mkl_vml_kernel_sExp_Z0LAynn", "mkl_vml_kernel_sTanhI_L9HAynn", "mkl_vml_kernel_sLn_Z0HAynn", "exp256_ps", "FLOAT_tanh_X86_V4",
        "simd_exp_FLOAT",
        "_Z9exp512_psDv16_f", "_ZN2at3vec4AVX210VectorizedIfE7exp_u20Ev", "_ZNK2at3vec4AVX210VectorizedIfE4tanhEv",
        "_ZN5Eigen8internal10pexp_floatIDv8_fEET_RKS3_", "_ZN5Eigen8internal11ptanh_floatIDv8_fEET_RKS3_", "expf.constprop.0", "log@@GLIBC_2.29",
    ],
)  # fmt: skip
def test_transcendental_names(name: str) -> None:
    assert images.transcendental(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "fma", "fmaf", "sqrt", "sqrtf", "rintf", "hypotf", "Sleef_fmaf16", "Sleef_sqrtf16_u05", "sgemm_", "cblas_sgemm",
        "mkl_blas_avx2_sgemm_kernel_0",
        "exponent", "expand", "logger", "login", "single", "tangent", "powers", "cosine_similarity", "main", "f", "logistic_map", "using", "instance",
        "mkl_vml_kernel_sMul_Z0EPnnn", "mkl_vml_kernel_sSqrt_L9HAynn", "vsMul", "vsAdd", "mkl_dft_avx2_ownsInitTabDftBase_32f", "vsinfo",
        "_ZN2at6native10exp_kernelERNS_18TensorIteratorBaseE", "_ZN2at6native12_GLOBAL__N_111layer_norm_E", "_ZNSt6vectorIfSaIfEE6resizeEm",
        "_ZN5Eigen8internal11gebp_kernelIfflNS0_16blas_data_mapperIflLi0ELi0ELi1EEELi24ELi4ELb0ELb0EEclE", "_Z", "_ZN", "_Z9999exp",
    ],
)  # fmt: skip
def test_other_names(name: str) -> None:
    assert not images.transcendental(name)


def test_the_nameless_in_a_mathematical_library() -> None:
    assert images.transcendental("", "/lib/x86_64-linux-gnu/libm.so.6", 20)
    assert not images.transcendental("", "/lib/x86_64-linux-gnu/libm.so.6", 1)  # fma()
    assert not images.transcendental("fmaf", "libm.so.6", 1)
    assert images.transcendental("_dl_unknown_helper", "libmvec.so.1", 9)
    assert not images.transcendental("", "libtorch_cpu.so", 20)


# --- polynomials in hand-written code

TABLE = """
.section .rodata
.balign 64
c0: .float 0.1
c1: .float 0.2
c2: .float 0.3
c3: .float 0.4
log2e: .float 1.44269504
ln2: .float 0.6931472
.text
"""


def flags(tmp_path: Path, body: str) -> tuple[list[int], list[int]]:
    """Flagged sites, and those that the source labels with p."""
    p = images.assemble(tmp_path, f"f:\n{body}\nret\nend:\n{TABLE}")
    found = p.function()
    assert set(found.at()) == set(p.starting("p")) | set(p.starting("a")), "every FMA has a label: p (polynomial) or a (arithmetic)"
    return found.polynomial(), p.starting("p")


HORNER = {
    "from memory": """
        vbroadcastss ymm1, [rip + c0]
        vbroadcastss ymm2, [rip + c1]
        p1: vfmadd213ps ymm1, ymm0, ymm2
        vbroadcastss ymm2, [rip + c2]
        p2: vfmadd213ps ymm1, ymm0, ymm2""",
    "embedded broadcast": """
        vbroadcastss zmm1, [rip + c0]
        p1: vfmadd213ps zmm1, zmm0, dword ptr [rip + c1]{1to16}
        p2: vfmadd213ps zmm1, zmm0, dword ptr [rip + c2]{1to16}""",
    "scalar": """
        vmovss xmm1, [rip + c0]
        p1: vfmadd213ss xmm1, xmm0, [rip + c1]
        p2: vfmadd213ss xmm1, xmm0, [rip + c2]
        p3: vfnmadd213ss xmm1, xmm0, [rip + c3]""",
    "from general registers": """
        mov eax, 0x3f800000
        vmovd xmm1, eax
        vbroadcastss ymm1, xmm1
        mov eax, 0x3f000000
        vpbroadcastd zmm2, eax
        p1: vfmadd213ps ymm1, ymm0, ymm2
        p2: vfmadd213ps ymm1, ymm0, ymm2""",
    "from a small integer": """
        mov ecx, 3
        vpinsrd xmm1, xmm9, ecx, 0
        vbroadcastss ymm1, xmm1
        vpbroadcastd ymm2, ecx
        p1: vfmadd213ps ymm1, ymm0, ymm2
        p2: vfmadd213ps ymm1, ymm0, ymm2""",
    "table at an address in the code": """
        movabs rax, offset c0
        vbroadcastss ymm1, [rax]
        vbroadcastss ymm2, [rax + 4]
        p1: vfmadd213ps ymm1, ymm0, ymm2
        p2: vfmadd213ps ymm1, ymm0, ymm2""",
    "table register": """
        lea rax, [rip + c0]
        push rax
        xor eax, eax
        pop rcx
        vbroadcastss ymm1, [rcx]
        vbroadcastss ymm2, [rcx + 4]
        p1: vfmadd213ps ymm1, ymm0, ymm2
        vbroadcastss ymm2, [rcx + 8]
        p2: vfmadd213ps ymm1, ymm0, ymm2""",
    "hoisted and spilled": """
        push rbp
        mov rbp, rsp
        and rsp, -32
        sub rsp, 64
        vbroadcastss ymm1, [rip + c0]
        vmovaps [rsp], ymm1
        vbroadcastss ymm2, [rip + c1]
        vmovaps [rsp + 32], ymm2
        jmp check
     repeat: vmovups ymm0, [rdi]
        vmovaps ymm1, [rsp]
        p1: vfmadd213ps ymm1, ymm0, [rsp + 32]
        p2: vfmadd213ps ymm1, ymm0, ymm3
        vmovups [rdi], ymm1
        add rdi, 32
     check: vbroadcastss ymm3, [rip + c2]
        cmp rdi, rsi
        jb repeat
        leave""",
    "estrin": """
        vmulps ymm5, ymm0, ymm0
        vbroadcastss ymm1, [rip + c0]
        vbroadcastss ymm2, [rip + c1]
        vbroadcastss ymm3, [rip + c2]
        vbroadcastss ymm4, [rip + c3]
        p1: vfmadd213ps ymm1, ymm0, ymm2
        p2: vfmadd213ps ymm3, ymm0, ymm4
        p3: vfmadd213ps ymm1, ymm5, ymm3""",
    "coefficients looked up": """
        vpsrld zmm5, zmm0, 28
        vmovups zmm1, [rip + c0]
        vpermps zmm1, zmm5, zmm1
        vmovups zmm2, [rip + c1]
        vpermt2ps zmm2, zmm5, [rip + c2]
        p1: vfmadd213ps zmm1, zmm0, zmm2
        p2: vfmadd213ps zmm1, zmm0, zmm2""",
    "range reduction and reconstruction": """
        vmulps ymm1, ymm0, [rip + log2e]
        vroundps ymm1, ymm1, 8
        p1: vfnmadd231ps ymm0, ymm1, [rip + ln2]
        vbroadcastss ymm2, [rip + c0]
        p2: vfmadd213ps ymm2, ymm0, [rip + c1]
        p3: vfmadd213ps ymm2, ymm0, [rip + c2]
        vmulps ymm3, ymm0, ymm0
        p4: vfmadd213ps ymm2, ymm3, ymm0
        vcvtps2dq ymm1, ymm1
        vpslld ymm1, ymm1, 23
        vmulps ymm2, ymm2, ymm1
        a1: vfmadd231ps ymm8, ymm2, ymm9""",
}


@pytest.mark.parametrize("name", HORNER)
def test_polynomials(tmp_path: Path, name: str) -> None:
    flagged, expected = flags(tmp_path, HORNER[name])
    assert flagged == expected


ARITHMETIC = {
    "scale and shift by constants": """
        vbroadcastss ymm1, [rip + c0]
        a1: vfmadd213ps ymm0, ymm1, [rip + c1]
        a2: vfmadd213ps ymm2, ymm1, [rip + c1]""",
    "dot product into zero": """
        vxorps xmm2, xmm2, xmm2
        vxorps xmm3, xmm3, xmm3
     repeat: vmovups ymm0, [rdi]
        a1: vfmadd231ps ymm2, ymm0, [rsi]
        vmovups ymm0, [rdi + 32]
        a2: vfmadd231ps ymm3, ymm0, [rsi + 32]
        add rdi, 64
        add rsi, 64
        dec rdx
        jnz repeat
        a3: vfmadd231ps ymm2, ymm3, ymm0""",
    "convolution with weights in memory": """
        vbroadcastss ymm1, [rdx]
        vbroadcastss ymm2, [rdx + 4]
        vmovups ymm0, [rdi]
        a1: vfmadd231ps ymm3, ymm0, ymm1
        a2: vfmadd231ps ymm4, ymm0, ymm2
        a3: vfmadd231ps ymm3, ymm1, [rdi + 4]
        a4: vfmadd231ps ymm4, ymm2, [rdi + 4]""",
    "stencil with constant weights": """
        vbroadcastss ymm1, [rip + c0]
        vbroadcastss ymm2, [rip + c1]
        vmulps ymm0, ymm1, [rdi]
        a1: vfmadd231ps ymm0, ymm2, [rdi + 4]
        a2: vfmadd231ps ymm0, ymm1, [rdi + 8]""",
    "moments with constant decay": """
        vbroadcastss ymm1, [rip + c0]
        vbroadcastss ymm2, [rip + c1]
        vmovups ymm3, [rdi]
        vmovups ymm4, [rsi]
        vmulps ymm5, ymm2, ymm4
        a1: vfmadd213ps ymm3, ymm1, ymm5
        vmulps ymm5, ymm4, ymm4
        vmulps ymm5, ymm5, ymm2
        vmovups ymm6, [rdx]
        a2: vfmadd213ps ymm6, ymm1, ymm5
        vsqrtps ymm6, ymm6
        vaddps ymm6, ymm6, [rip + c2]
        vdivps ymm3, ymm3, ymm6
        a3: vfmadd231ps ymm8, ymm3, ymm7""",
    "inverse root by Newton": """
        vmovups ymm0, [rdi]
        vbroadcastss ymm1, [rip + c0]
        a1: vfmadd213ps ymm0, ymm1, [rip + c1]
        vrsqrtps ymm2, ymm0
        vmulps ymm3, ymm0, ymm2
        vbroadcastss ymm4, [rip + c2]
        a2: vfnmadd213ps ymm3, ymm2, ymm4
        vmulps ymm2, ymm2, ymm3
        a3: vfmadd231ps ymm8, ymm2, ymm9""",
    "affine then affine of another": """
        vbroadcastss ymm1, [rip + c0]
        vmovups ymm0, [rdi]
        a1: vfmadd213ps ymm0, ymm1, [rip + c1]
        a2: vfmadd213ps ymm0, ymm2, [rip + c2]
        a3: vfmadd213ps ymm0, ymm3, [rip + c3]""",
    "accumulator that starts at a constant": """
        vbroadcastss ymm2, [rip + c0]
        vbroadcastss ymm1, [rip + c1]
     repeat: a1: vfmadd231ps ymm2, ymm1, [rdi]
        a2: vfmadd231ps ymm2, ymm1, [rdi + 32]
        add rdi, 64
        cmp rdi, rsi
        jb repeat""",
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(tmp_path: Path, name: str) -> None:
    assert flags(tmp_path, ARITHMETIC[name])[0] == []


# --- polynomials that a compiler made

SOURCE = """
#include <math.h>
#define EACH for (int i = 0; i < n; ++i)
static inline float my_exp(float x) {
  x = fminf(fmaxf(x, -87.f), 88.f);
  float n = rintf(x * 1.44269504f), r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r + 1.6666665459e-1f) * r
            + 5.0000001201e-1f;
  float y = p * r * r + r + 1.f;
  union { int i; float f; } u; u.i = ((int)n + 127) << 23;
  return y * u.f;
}
static inline float my_tanh(float x) {
  x = fminf(fmaxf(x, -7.9f), 7.9f);
  float z = x * x;
  float p = ((((-2.76076847742355e-16f * z + 2.00018790482477e-13f) * z - 8.60467152213735e-11f) * z + 5.12229709037114e-08f) * z
            + 1.48572235717979e-05f) * z
            + 6.37261928875436e-04f;
  float q = ((1.19825839466702e-06f * z + 1.18534705686654e-04f) * z + 2.26843463243900e-03f) * z + 4.89352518554385e-03f;
  return x * p / q;
}
void poly_exp(float* y, const float* x, int n) { EACH y[i] = my_exp(x[i]); }
void poly_tanh(float* y, const float* x, int n) { EACH y[i] = my_tanh(x[i]); }
float poly_one(float x, float y) { return my_exp(x) * y; }
void plain_saxpy(float* y, const float* x, int n, float a) { EACH y[i] += a * x[i]; }
void plain_affine(float* y, const float* x, int n) { EACH y[i] = 1.7f * x[i] + 0.3f; }
void plain_lerp(float* y, const float* x, int n) { EACH y[i] = 0.9f * y[i] + 0.1f * x[i]; }
float plain_dot(const float* x, const float* y, int n) { float s = 0; EACH s += x[i] * y[i]; return s; }
void plain_norm(float* y, const float* x, int n, float m, float r, const float* g, const float* b) { EACH y[i] = (x[i] - m) * r * g[i] + b[i]; }
void plain_gemm(float* c, const float* a, const float* b, int n) {
  for (int i = 0; i < n; ++i) for (int k = 0; k < n; ++k) for (int j = 0; j < n; ++j) c[i*n+j] += a[i*n+k] * b[k*n+j];
}
void plain_adam(float* w, float* m, float* v, const float* g, int n) {
  EACH { m[i] = 0.9f * m[i] + 0.1f * g[i]; v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i]; w[i] -= 1e-3f * m[i] / (sqrtf(v[i]) + 1e-8f); }
}
void plain_blur(float* y, const float* x, int n) { EACH y[i] = 0.25f * x[i] + 0.5f * x[i+1] + 0.25f * x[i+2]; }
void plain_rgb(float* y, const float* r, const float* g, const float* b, int n) { EACH y[i] = 0.299f * r[i] + 0.587f * g[i] + 0.114f * b[i] + 0.5f; }
"""


@pytest.fixture(scope="module", params=["-O2", "-O3", "-O3 -march=x86-64-v4"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    image = images.compile_c(tmp_path_factory.mktemp("c"), SOURCE, *request.param.split())
    counts: dict[str, tuple[int, int]] = {}
    for s in image.survey():
        name = image.symbol(int(s["at"]))[0]
        total, flagged = counts.get(name, (0, 0))
        counts[name] = total + 1, flagged + int(s["polynomial"])
    return counts


def test_compiled_polynomials(compiled: dict[str, tuple[int, int]]) -> None:
    found = {name: c for name, c in compiled.items() if name.startswith("poly")}
    assert len(found) == 3
    for name, (total, flagged) in found.items():
        assert flagged == total >= 7, name


def test_compiled_arithmetic(compiled: dict[str, tuple[int, int]]) -> None:
    found = {name: c for name, c in compiled.items() if name.startswith("plain")}
    assert len(found) >= 8
    assert {name: c for name, c in found.items() if c[1] > 0} == {}


@pytest.mark.parametrize("name", ["from memory", "embedded broadcast", "scalar", "estrin"])
def test_double_precision_polynomials(name: str, tmp_path: Path) -> None:
    """The same code on FP64 lanes."""
    body = re.sub(r"(v\w+?)(p|s)s\b", r"\1\2d", HORNER[name]).replace("vbroadcastss", "vbroadcastsd")
    body = body.replace("{1to16}", "{1to8}").replace("dword ptr", "qword ptr")
    found, labelled = flags(tmp_path, body)
    assert found == labelled


# --- real libraries


def test_openblas_is_arithmetic() -> None:
    sites = images.openblas().survey()
    assert int(sites["polynomial"].sum()) == 0
    assert int((~sites["fp64"]).sum()) > 10000


def torch_matching(pattern: str) -> dict[str, tuple[int, int]]:
    found = {n: c for n, c in images.torch_functions().items() if re.search(pattern, n)}
    assert found, pattern
    return found


@pytest.mark.parametrize(
    "pattern",
    [
        r"^mkl_blas_.*sgemm", r"^mkl_blas_", r"^mkl_dft_", r"^mkl_sparse_", r"^mkl_lapack_", r"^c?DFT|^[fi]\d+", r"fbgemm",
        r"RowwiseMoments", r"LayerNorm|layer_norm",
        r"[Bb]atch_?[Nn]orm", r"GroupNorm|group_norm", r"[Aa]dam|fused_sgd|adagrad", r"lerp", r"addcmul|addcdiv",
        r"gemv|gemm_|dot_with_fp32", r"grid_sample|GridSample",
        r"cpu_upsample_linear|upsample_bilinear", r"depthwise",
    ],
)  # fmt: skip
def test_torch_arithmetic(pattern: str) -> None:
    assert {n: c for n, c in torch_matching(pattern).items() if c[1] > 0} == {}


@pytest.mark.parametrize(
    "pattern",
    [r"AVX(2|512).*erf_kernel", r"erfinv_kernel", r"vectorized_gelu(?!_)", r"_exp_reduce_sum_fusion_kernel", r"digamma_kernel"],
)
def test_torch_polynomials(pattern: str) -> None:
    for name, (total, flagged) in torch_matching(pattern).items():
        if "cpu_kernel" in name or images.transcendental(name):
            continue
        assert flagged == total, name


def test_flash_attention_has_both() -> None:
    """softmax's exp is a polynomial (where it is inlined), the rescaling of the output is arithmetic."""
    found = torch_matching(r"cpu_flash_attentionI")
    assert all(flagged < total for total, flagged in found.values())
    assert sum(flagged >= 7 for _, flagged in found.values()) > 10


def test_numpy_kernels_are_found_without_their_names() -> None:
    image = images.numpy_umath()
    counts: dict[str, list[int]] = {}
    for s in image.survey():
        if not s["fp64"]:
            c = counts.setdefault(image.symbol(int(s["at"]))[0], [0, 0])
            c[0] += 1
            c[1] += int(s["polynomial"])
    found = {n: c for n, c in counts.items() if n in ("simd_exp_FLOAT", "FLOAT_tanh_X86_V4")}
    if not found:
        pytest.skip("this NumPy has no symbols")
    assert {n: c for n, c in found.items() if c[0] != c[1]} == {}


JIT = """
import torch, torch.nn.functional as F
x, w, b = torch.randn(2, 3, 16, 16), torch.randn(8, 3, 3, 3), torch.randn(8)
conv = lambda act, alg="": torch.ops.mkldnn._convolution_pointwise(x, w, b, [1, 1], [1, 1], [1, 1], 1, act, [], alg)
with torch.no_grad():
    m = x.to_mkldnn()
    m.tanh(); m.sigmoid(); m.softmax(1)
    F.conv2d(x, w, b); conv("relu"); conv("hardswish")
    print("act", flush=True)
    conv("tanh"); conv("sigmoid"); conv("gelu", "none"); conv("gelu", "tanh"); conv("swish")
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    """oneDNN's kernels as it dumps them, in the order in which they were made."""
    images.torch_path()
    folder = tmp_path_factory.mktemp("jit")
    environment = os.environ | {"ONEDNN_JIT_DUMP": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", JIT], cwd=folder, env=environment, check=True, capture_output=True)
    files = sorted(folder.glob("*.bin"), key=lambda p: int(p.name.split(".")[-2]))
    if not files:
        pytest.skip("this PyTorch dumps no kernels")
    return [(p.name.split(".")[0].removeprefix("dnnl_dump_cpu_"), p.read_bytes()) for p in files]


def explored(code: bytes) -> images.Found:
    return images.Image().add(images.BASE, code).loose(images.BASE, (images.BASE, images.BASE + len(code)))


def test_onednn_sites(kernels: list[tuple[str, bytes]]) -> None:
    total = 0
    for name, code in kernels:
        found = explored(code)
        linear = images.iced_sites(code[: max((int(e["end"]) for e in found.covered), default=images.BASE) - images.BASE], images.BASE)
        assert images.sites_of(found.sites) == linear, name
        total += len(linear)
    assert total > 100


def test_onednn_activations(kernels: list[tuple[str, bytes]]) -> None:
    """Element-wise kernels and softmax are all polynomial; convolutions are not; those with a fused activation have both."""
    elementwise = [explored(code) for name, code in kernels if "uni_kernel" in name or "softmax" in name]
    with_sites = [f for f in elementwise if len(f.sites) > 0]
    assert len(with_sites) >= 2
    for found in with_sites:
        assert found.polynomial() == found.at()
    convolutions = [explored(code) for name, code in kernels if "conv_fwd" in name or "brgemm_kernel_t" in name]
    shares = [(len(f.at()), len(f.polynomial())) for f in convolutions if len(f.at()) > 0]
    assert len([s for s in shares if s[1] == 0]) >= 3
    assert len([s for s in shares if 0 < s[1] < s[0]]) >= 5
