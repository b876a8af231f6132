"""The controller against traces worked out by hand from the published pseudo-code."""

from __future__ import annotations

import math

import pytest

from fase.dynamic import EmaController
from fase.errors import UsageError

# alpha = 1/2 and thresholds that binary fractions hold exactly, so that this table can be checked in one's head.
# Iterations of 2 batches; 6 of them (i = 0..5) make the first EMA; BF16 is judged after 4 batches, 2 iterations.
#  i   losses of the batches   iteration's loss   EMA               fell by   decision
TRACE = [
    (0, (8.0, 8.0), 8.0, None, None, "mp"),
    (1, (8.0, 8.0), 8.0, None, None, "mp"),
    (2, (8.0, 8.0), 8.0, None, None, "mp"),
    (3, (4.0, 4.0), 4.0, None, None, "mp"),
    (4, (4.0, 4.0), 4.0, None, None, "mp"),
    (5, (6.0, 2.0), 4.0, 6.0, None, "mp"),      # (8+8+8+4+4+4)/6
    (6, (6.0, 6.0), 6.0, 6.0, 0.0, "mp"),       # stagnates: MP stays
    (7, (5.5, 5.5), 5.5, 5.75, 0.25, "mp"),     # falls by the threshold, not by more: MP stays
    (8, (4.0, 5.0), 4.5, 5.125, 0.625, "bf16"), # falls
    (9, (9.0, 9.0), 9.0, 7.0625, None, "bf16"), # 2 batches in BF16: not asked
    (10, (5.0, 5.0), 5.0, 6.03125, 1.03125, "bf16"),  # 4: falls, so the count starts again
    (11, (1.0, 1.0), 1.0, 3.515625, None, "bf16"),
    (12, (3.5, 3.5), 3.5, 3.5078125, 0.0078125, "mp"),  # 4: stagnates
    (13, (1.5, 1.5), 1.5, 2.50390625, 1.0, "bf16"),
]  # fmt: skip


def test_trace_by_hand() -> None:
    controller = EmaController(("mp", "bf16"), num_batches_mp=2, num_batches_bf16=4, ema_threshold=0.25, alpha=0.5)
    assert (controller.mode, controller.ema) == ("mp", None)
    mode = "mp"
    for i, losses, _, ema, _, decision in TRACE:
        for loss in losses[:-1]:
            assert controller.update(loss) == mode, f"the mode changed within iteration {i}"
        mode = controller.update(losses[-1])
        assert (mode, controller.ema) == (decision, ema), f"iteration {i}"


def test_published_parameters() -> None:
    """10 batches an iteration, N = 5, alpha = 1/3, 0.04, 1000: the first change cannot come before batch 70, the next look 1000 later."""
    controller = EmaController()
    modes = [controller.update(2.0 if batch < 60 else 1.8) for batch in range(1100)]
    assert modes[:69] == ["mp"] * 69
    assert modes[69] == "bf16"  # the EMA fell by 0.2 / 3 > 0.04
    assert modes[69:1069] == ["bf16"] * 1000
    assert modes[1069] == "mp"  # by then it stands still
    assert math.isclose(controller.ema or 0, 1.8)


def test_small_falls_do_not_count() -> None:
    controller = EmaController()
    assert {controller.update(2.0 if batch < 60 else 1.89) for batch in range(200)} == {"mp"}  # 0.11 / 3 < 0.04


def test_hold_that_iterations_do_not_divide() -> None:
    controller = EmaController(num_batches_mp=10, num_batches_bf16=25, ema_threshold=0.01)
    modes = [controller.update(10 - batch / 100 if batch < 80 else 5.0) for batch in range(200)]
    first = modes.index("bf16")
    assert modes[first + 29] == "bf16"
    assert len(modes[first:]) > 30


def test_ladder() -> None:
    controller = EmaController(("fp32", "mp", "bf16"), num_batches_mp=1, num_batches_bf16=2, ema_threshold=0.1, ema_n=1, alpha=1)
    losses = [9, 9, 8, 8, 7, 7, 6, 6, 6, 6, 6]
    assert [controller.update(x) for x in losses] == ["fp32", "fp32", "mp", "mp", "bf16", "bf16", "bf16", "bf16", "mp", "mp", "fp32"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_losses_that_are_no_numbers(bad: float) -> None:
    controller = EmaController(num_batches_mp=1, num_batches_bf16=2, ema_n=1, ema_threshold=0.1, alpha=0.5)
    for loss in (5, 5, 3):
        mode = controller.update(loss)
    assert mode == "bf16"
    before = controller.ema
    assert [controller.update(bad), controller.update(bad)] == ["bf16", "mp"]
    assert controller.ema == before
    assert controller.update(1.0) == "bf16"


@pytest.mark.parametrize(
    "wrong", [{"num_batches_mp": 0}, {"num_batches_bf16": 1.5}, {"ema_n": 0}, {"alpha": 0.0}, {"alpha": 1.5}, {"modes": ("mp",)}]
)
def test_wrong_parameters(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        EmaController(**wrong)  # type: ignore[arg-type]
