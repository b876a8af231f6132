"""The runs of the test programs: which program, which arguments. What each executes is written at the top of its source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness import Builder


@dataclass(frozen=True)
class Scenario:
    program: str
    arguments: tuple[str, ...] = ()
    status: int = 0

    def __str__(self) -> str:
        return "-".join([self.program, *self.arguments])

    def command(self, build: Builder, stripped: bool = False, *extra: str) -> tuple[Path | str, ...]:
        if self.program == "dlopen":
            library = {"LIBRARY": str(build.library("probe_library")), "COPY": str(build.library("probe_library", "-copy"))}
            arguments = tuple(library.get(a, a) for a in self.arguments)
        else:
            arguments = self.arguments
        return (build.program(self.program, *extra, stripped=stripped), *arguments)


def _scenarios(program: str, *runs: str) -> list[Scenario]:
    return [Scenario(program, tuple(run.split())) for run in runs]


QUICK = [
    *_scenarios("threads", "same 50", "each 4 20000", "churn 500"),
    *_scenarios("jit", "rwx 300", "wx 300", "patch 100", "behind 300", "pages 300", "pointers", "table", "cycles 500", "moved", "file"),
    *_scenarios("dlopen", "once LIBRARY", "cycles LIBRARY 200", "elsewhere LIBRARY", "twins LIBRARY COPY"),
    *_scenarios("fork", "before", "after", "grandchildren", "quick_exit", "killed", "killed_busy", "exec", "exec_child"),
    *_scenarios("fork", "vfork", "fexecve", "spawn", "system", "scrubbed", "threads 50"),
    *_scenarios("middle", "straight up", "straight down", "straight twice", "pointers", "blocks", "straddle first", "straddle second", "inside"),
    Scenario("data_in_text"),
    Scenario("changed"),
    *_scenarios("signals", "repair", "repair_load", "repair_store", "repair_loop", "repair_touch", "bus", "longjmp"),
    *_scenarios("signals", "timer 300000", "timer_rip 300000", "timer_mxcsr 300000", "timers 500"),
    *_scenarios("signals", "masks", "query", "tiny_stack", "data_stack", "alt_stack", "nodefer"),
    Scenario("signals", ("default",), 139),
    Scenario("signals", ("abort",), 134),
    *_scenarios("registers", "red_zone", "flags", "carry", "branch", "vectors", "x87", "mxcsr"),
    *_scenarios("exceptions", "20 200"),
    *_scenarios("loop", "xmm 1000", "ymm 1000", "double 1000"),
]
LONG = [
    *_scenarios("threads", "churn 5000", "each 50 100000"),
    *_scenarios("jit", "cycles 10000", "rwx 10000", "pages 5000"),
    *_scenarios("dlopen", "cycles LIBRARY 10000"),
    *_scenarios("fork", "threads 1000"),
    *_scenarios("signals", "timer 3000000"),
]
# Small enough to be single-stepped, and linked statically so that the dynamic linker need not be.
STEPPED = [
    *_scenarios("threads", "same 3", "churn 4"),
    *_scenarios("jit", "rwx 5", "patch 10", "behind 5", "pointers", "table", "moved"),
    *_scenarios("fork", "before", "grandchildren", "exec", "scrubbed", "vfork", "spawn"),
    *_scenarios("middle", "straight down", "pointers", "blocks", "straddle first", "inside"),
    Scenario("data_in_text"),
    *_scenarios("signals", "repair", "repair_store", "repair_loop", "bus", "longjmp", "masks", "query", "tiny_stack", "nodefer"),
    *_scenarios("registers", "flags", "branch", "vectors", "mxcsr"),
    *_scenarios("loop", "xmm 20", "double 20"),
]
