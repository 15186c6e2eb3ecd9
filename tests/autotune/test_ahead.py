"""The loop that reads losses later: its points, its divergence and its interrupts are the CPU's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from autotune.devices import CPU, Device
from autotune.tasks.resolve import placed, resolve
from autotune.training import ahead
from autotune.training.ahead import LOOK
from autotune.training.loading import build
from autotune.training.loop import train
from autotune.training.pulse import silent
from autotune.training.steps import Diverged, Segment

SEGMENT = Segment(
    start=0, stop=40, target=81, warmup=0.1, evaluate=frozenset({3, 9, 27, 40}), every=2
)


@pytest.fixture(scope="module")
def task():
    return resolve("mlp", steps=81)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let a look come by its step alone, on a slow machine too."""
    monkeypatch.setattr(ahead, "PATIENCE", 1e9)


def points(task: Any, lr: float, *, late: bool, segment: Segment = SEGMENT, **how: Any) -> Any:
    """Return the points of a run without their seconds, and how it ended."""
    run, optimizer = build(task, "sgd", {"lr": lr, "momentum": 0.9}, 0)
    found = []
    try:
        for point in train(run, optimizer, segment, ahead=late, **how):
            found.append(replace(point, seconds=0.0))
    except Diverged as diverged:
        return found, str(diverged), None
    weights = [p.detach().clone() for p in run.model.parameters()]
    return found, optimizer.param_groups[0]["lr"], weights


@pytest.mark.parametrize("start", [0, 5])
def test_points_weights_and_rates_are_those_of_the_cpu(task, start):
    segment = replace(SEGMENT, start=start)
    now, late = (points(task, 0.05, late=late, segment=segment) for late in (False, True))
    assert now[:2] == late[:2]
    assert len(now[0]) > 15
    assert all(torch.equal(a, b) for a, b in zip(now[2], late[2], strict=True))


@pytest.mark.parametrize("lr", [1e15, 1e38])
def test_a_run_diverges_at_the_same_step_with_the_same_loss(task, lr):
    far = replace(SEGMENT, evaluate=frozenset({40}), warmup=0.0)
    now, late = (points(task, lr, late=late, segment=far) for late in (False, True))
    assert now[:2] == late[:2]
    assert "loss became" in now[1]


def test_a_validation_loss_that_is_none_diverges_at_its_step(task):
    huge = replace(SEGMENT, stop=2, evaluate=frozenset({2}), warmup=0.0)
    now, late = (points(task, 1e15, late=late, segment=huge) for late in (False, True))
    assert now[:2] == late[:2]
    assert now[1].startswith("validation loss became")


def test_what_raises_after_a_loss_became_nan_has_diverged(task):
    run, optimizer = build(task, "sgd", {"lr": 0.1}, 0)
    honest = run.loss

    def loss(step):
        if step == 9:
            raise RuntimeError("probabilities must not be NaN")
        return honest(step) * (float("nan") if step == 7 else 1.0)

    run.loss = loss
    with pytest.raises(Diverged, match=r"^training loss became nan at step 8$"):
        list(train(run, optimizer, SEGMENT, ahead=True))


def test_what_raises_while_losses_are_finite_is_raised(task):
    run, optimizer = build(task, "sgd", {"lr": 0.1}, 0)
    honest = run.loss
    run.loss = lambda step: honest(step) if step < 5 else 1 / 0
    told = train(run, optimizer, SEGMENT, ahead=True)
    assert [next(told).step for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        next(told)


def test_it_is_asked_at_each_look_whether_to_stop(task):
    asked = []

    def interrupted():
        asked.append(None)
        return len(asked) == 2

    far = replace(SEGMENT, evaluate=frozenset())
    found, _, _ = points(task, 0.05, late=True, segment=far, interrupted=interrupted)
    assert (len(asked), found[-1].step) == (2, 2 * LOOK)


class Asked(Device):
    """The CPU, where each question is counted."""

    def numbers(self, tensors: Any) -> list[float]:
        QUESTIONS.append(len(tensors))
        return super().numbers(tensors)


QUESTIONS: list[int] = []


def test_losses_are_read_at_looks_and_measurements_alone(task):
    QUESTIONS.clear()
    segment = replace(SEGMENT, evaluate=frozenset(), every=1)
    points(task, 0.05, late=True, segment=segment, device=Asked("cpu"))
    assert [count for count in QUESTIONS if count] == [LOOK, LOOK, 40 - 2 * LOOK]


class Enough(Exception):
    """Raised where it is asked whether to stop."""


def test_a_device_is_asked_nothing_before_the_first_look(task):
    run, optimizer = build(placed(task, Device("meta")), "adan", {"lr": 0.1}, 0)
    segment = replace(SEGMENT, evaluate=frozenset())
    asked = []

    def stop():
        asked.append(None)
        raise Enough

    with pytest.raises(Enough):
        list(train(run, optimizer, segment, stop, silent, run.device))
    assert len(asked) == 1


def test_a_planted_question_a_step_is_found(task):
    run, optimizer = build(placed(task, Device("meta")), "adan", {"lr": 0.1}, 0)
    honest = run.loss
    run.loss = lambda step: honest(step) * (1.0 if honest(step).item() else 0.0)
    with pytest.raises(RuntimeError, match=r"item\(\)"):
        list(train(run, optimizer, SEGMENT, lambda: False, silent, run.device))


def test_the_cpu_reads_each_loss_at_its_step(task):
    QUESTIONS.clear()
    assert not CPU.waits
    points(task, 0.05, late=None, device=Asked("cpu"))
    assert LOOK not in QUESTIONS
