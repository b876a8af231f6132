"""Rules as the command line spells them: `GLOB=MODE`, `PATTERN[:PHASE...]=MODE`, `MODE:MODE`."""

from __future__ import annotations

from collections.abc import Iterable

from fase.errors import ModeError, PolicyError
from fase.operators import Operator, parse
from fase.policy.rules import BACKWARD, LAYER_PHASES, PHASES, RUN, Dynamic, Phase, RoutineRule, TorchRule, Where

JIT = "jit"


def mode_of(text: str) -> Operator | None:
    """The operator of a rule's mode; None for `run`. ModeError."""
    return None if text.strip().lower() == RUN else parse(text)


def routine_rule(text: str, option: str = "--rule") -> RoutineRule:
    """Reads `FUNCTION=MODE`, `FUNCTION@LIBRARY=MODE`, `LIBRARY.so=MODE` or `jit=MODE`."""
    where = Where(f"{option} {text}")
    glob, operator = _split(text, where)
    if glob == JIT:
        return RoutineRule(operator, jit=True, where=where)
    routine, at, library = glob.partition("@")
    if not at and (routine.endswith(".so") or ".so." in routine):
        return RoutineRule(operator, library=routine, where=where)
    return RoutineRule(operator, routine or "*", library or "*", where=where)


def torch_rule(text: str, option: str = "--torch") -> TorchRule:
    """Reads `PATTERN=MODE`, `PATTERN:PHASE=MODE` or `optimizer=MODE`; a phase is one of PHASES, or `backward`. Several: `a+b`."""
    where = Where(f"{option} {text}")
    pattern, operator = _split(text, where)
    name, colon, phases = pattern.partition(":")
    return TorchRule(*checked_torch(name, phases.split("+") if colon else (), where), operator, where=where)


def checked_torch(pattern: str, phases: Iterable[str], where: Where) -> tuple[str, tuple[Phase, ...]]:
    """The pattern and the phases of a torch rule, checked and spelled out."""
    wanted = list(phases)
    if pattern == "optimizer" and not wanted:
        return "*", ("optimizer",)
    if not pattern or not pattern.isprintable():
        raise PolicyError(f"{where}: the module pattern is empty or holds control characters")
    known: dict[str, tuple[Phase, ...]] = {"backward": BACKWARD, **{p: (p,) for p in PHASES}}
    for phase in wanted:
        if phase not in known:
            raise PolicyError(f"{where}: unknown phase '{phase}'; the phases are {', '.join((*PHASES, 'backward'))}")
    found = tuple(dict.fromkeys(p for phase in wanted for p in known[phase])) or LAYER_PHASES
    if "optimizer" in found and len(found) > 1:
        raise PolicyError(f"{where}: the optimizer step is no part of a module; write a rule of its own for it")
    return pattern, found


def dynamic_of(text: str, options: Iterable[str] = ()) -> Dynamic:
    """Reads `MODE:MODE[:MODE...]`, most careful first, or `FILE.py:CLASS`, `MODULE:CLASS`; and `KEY=VALUE` parameters."""
    where = Where(f"--dynamic {text}")
    parts = text.split(":")
    if len(parts) == 2 and parts[1].isidentifier() and not is_mode(parts[1]):
        if not parts[0]:
            raise PolicyError(f"{where}: is neither MODE:MODE nor FILE.py:CLASS")
        modes: tuple[str, ...] = ()
        controller = text
    else:
        modes, controller = checked_ladder(_rungs(parts), where), ""
    step, parameters = _parameters(options)
    return Dynamic(modes, controller, parameters, "backward" if step == "backward" else "optimizer", where)


def _rungs(parts: Iterable[str]) -> list[str]:
    """Modes between colons, some of which belong to a format's options: what is no mode, and with the mode before it is one, goes to that one."""
    found: list[str] = []
    for part in parts:
        if found and not is_mode(part) and is_mode(f"{found[-1]}:{part}"):
            found[-1] += f":{part}"
        else:
            found.append(part)
    return found


def checked_ladder(modes: Iterable[str], where: Where) -> tuple[str, ...]:
    """The modes of a ladder, each known, two or more and all different."""
    found = []
    for mode in modes:
        try:
            found.append(parse(mode).name)
        except ModeError as error:
            raise PolicyError(f"{where}: {error}") from None
    if len(found) < 2 or len(set(found)) != len(found):
        raise PolicyError(f"{where}: dynamic training needs two different modes or more, the most careful first: mp:bf16")
    return tuple(found)


def _parameters(options: Iterable[str]) -> tuple[str, tuple[tuple[str, float], ...]]:
    step, parameters = "optimizer", []
    for option in options:
        key, _, value = option.partition("=")
        if key == "step":
            if value not in ("optimizer", "backward"):
                raise PolicyError(f"--dynamic-option {option}: step is optimizer or backward")
            step = value
            continue
        try:
            parameters.append((key.replace("-", "_"), float(value)))
        except ValueError:
            raise PolicyError(f"--dynamic-option {option}: is not KEY=NUMBER") from None
    return step, tuple(parameters)


def _split(text: str, where: Where) -> tuple[str, Operator | None]:
    """GLOB and MODE around the first `=`: a mode may hold more of them, a name of a function or a module holds none."""
    glob, equals, mode = text.partition("=")
    if not equals or not glob.strip() or not glob.isprintable():
        raise PolicyError(f"{where}: is not GLOB=MODE")
    try:
        return glob.strip(), mode_of(mode)
    except ModeError as error:
        raise PolicyError(f"{where}: {error}") from None


def is_mode(text: str) -> bool:
    """Whether `parse` takes it."""
    try:
        parse(text)
    except ModeError:
        return False
    return True
