"""What becomes of the CPU's own VDPBF16PS: `native` (it runs as it is), `run` (under the run's mode), or a mode of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fase.errors import ModeError, PolicyError
from fase.operators import Operator, parse
from fase.operators.emittable import dot_obstacle
from fase.policy.rules import RUN, Where

if TYPE_CHECKING:
    from fase.policy.policy import Policy

NATIVE = "native"


def checked(text: str, where: Where) -> str:
    """The choice as policies hold it: case and spaces taken away. PolicyError where VDPBF16PS cannot run so."""
    word = "".join(text.split()).lower()
    if word not in (NATIVE, RUN):
        try:
            _refuse(parse(word))
        except ModeError as error:
            raise PolicyError(f"{where}: {error}") from None
    return word


def agent_line(choice: str | None) -> Iterator[str]:
    """The agent's line (native/abi/agent.h), if one is needed."""
    if choice == RUN:
        yield f"bf16={RUN}"
    elif choice not in (None, NATIVE):
        operator = parse(choice)
        yield f"bf16={operator.name}|{operator.spec}"


def check_modes(policy: Policy, operator: Operator) -> None:
    """ModeError for a mode that VDPBF16PS would have to follow and cannot: the run's, a rule's, a controller's."""
    if policy.bf16_instructions != RUN:
        return
    rules = [*(r.operator for r in policy.routines), *(r.operator for r in policy.torch)]
    dynamic = map(parse, policy.dynamic.modes) if policy.dynamic else ()
    for each in (operator, *filter(None, rules), *dynamic):
        try:
            _refuse(each)
        except ModeError as error:
            raise ModeError(f"bf16-instructions: {error}") from None


def _refuse(operator: Operator) -> None:
    if reason := dot_obstacle(operator.description):
        raise ModeError(f"mode '{operator.name}' cannot be that of VDPBF16PS: {reason}")
