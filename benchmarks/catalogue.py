"""The workloads, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from benchmarks import mkl
from benchmarks.unavailable import Unavailable
from fase.machine import cpu

SCRIPTS = Path(__file__).with_name("workloads")
PAPER = "FASE paper: Intel Pin, full BF16, its own machines and models"


def _nothing() -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Workload:
    """One row. `paper` is the paper's slow-down for this kind of workload, where it has one.

    `prepare` gives further environment variables, or raises Unavailable. `kernel` must be what the script's note begins with.
    """

    name: str
    title: str
    script: str
    paper: float | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    prepare: Callable[[], dict[str, str]] = _nothing
    kernel: str = ""

    @property
    def path(self) -> Path:
        return SCRIPTS / f"{self.script}.py"


def _needs_avx512() -> dict[str, str]:
    if cpu().isa != "avx512":
        raise Unavailable("this CPU has no AVX-512")
    return {}


def _mkl_avx512() -> dict[str, str]:
    _needs_avx512()
    return {"MKL_FOLDER": str(mkl.folder())}


def _openblas(name: str, core: str, prepare: Callable[[], dict[str, str]] = _nothing) -> Workload:
    return Workload(name, f"SGEMM 512, OpenBLAS {core}", "sgemm_numpy", 39, {"OPENBLAS_CORETYPE": core}, prepare, core)


WORKLOADS = (
    Workload("sgemm-mkl", "SGEMM 512, torch/MKL", "sgemm_torch", 39),
    Workload("sgemm-mkl-avx512", "SGEMM 512, MKL 2019 AVX-512", "sgemm_mkl", 39, mkl.AVX512, _mkl_avx512),
    _openblas("sgemm-openblas-haswell", "Haswell"),
    _openblas("sgemm-openblas-skylakex", "SkylakeX", _needs_avx512),
    Workload("conv-bn-relu", "conv-BN-ReLU step", "conv_bn_relu"),
    Workload("resnet18", "ResNet-18 step", "resnet18", 30),
    Workload("resnet50", "ResNet-50 step", "resnet50", 30),
    Workload("gan3d", "3DGAN step", "gan3d", 28),
    Workload("lstm", "LSTM step (PTB)", "lstm", 29),
    Workload("transformer", "Transformer step (Multi30k)", "transformer", 17),
    Workload("inference", "ResNet-18 inference", "inference"),
)


def choose(names: str) -> tuple[Workload, ...]:
    """The workloads named, in their own order; all where none is. A name stands for every workload that begins with it. KeyError: no such name."""
    wanted = names.replace(",", " ").split()
    for name in wanted:
        if not any(w.name.startswith(name) for w in WORKLOADS):
            raise KeyError(name)
    return tuple(w for w in WORKLOADS if not wanted or w.name in wanted or _by_prefix(w.name, wanted))


def _by_prefix(name: str, wanted: list[str]) -> bool:
    exact = {w.name for w in WORKLOADS}
    return any(name.startswith(w) for w in wanted if w not in exact)
