"""Engines on a device without memory: what they ask it, and that they ask nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autotune import devices
from autotune.devices import Device
from autotune.engines.batched import Batched
from autotune.engines.inline import Inline
from autotune.models.mlp import MLP
from autotune.testing.trials import setting_of
from autotune.training import ahead
from autotune.training.ahead import LOOK
from autotune.training.job import FIRST, Job, Outcome, Report

STEPS, RUNGS = 40, (9, 27, 40)  # each operation on the meta device takes long
JOB = Job(
    trial=1, attempt=1, task={"model": "mlp", "steps": STEPS, "device": "meta"}, optimizer="adan",
    setting=setting_of(hyper={"lr": 1e-3}), seed=1, start=0, stop=STEPS, target=STEPS,
    evaluate=RUNGS,
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """Let the meta device be one of this machine whose numbers are all 1, and count questions."""
    found: list[int] = []

    def numbers(self, tensors):
        count = sum(each.numel() for each in tensors)
        found.append(count)
        return [1.0] * count

    monkeypatch.setattr(devices, "resolve", Device)
    monkeypatch.setattr(Device, "numbers", numbers)
    monkeypatch.setattr(ahead, "PATIENCE", 1e9)
    return found


def run(engine: Any, *jobs: Job) -> list[Report]:
    """Return every report of jobs."""
    told: list[Report] = []
    try:
        for job in jobs:
            engine.submit(job)
        while sum(each.outcome is not Outcome.PROGRESS for each in told) < len(jobs):
            told += engine.reports(0.1)
    finally:
        engine.close()
    return told


def steps(told: list[Report], trial: int) -> list[int]:
    return [point.step for report in told if report.trial == trial for point in report.points]


@pytest.mark.parametrize("engine", [Inline, Batched])
def test_a_trial_reports_as_on_the_cpu_and_asks_at_looks_and_measurements_alone(asked, engine):
    there = run(engine(), JOB)
    questions = [count for count in asked if count]
    assert len(questions) <= STEPS // LOOK + 1 + 3 * len(RUNGS) < STEPS
    here = run(engine(), replace(JOB, task={"model": "mlp", "steps": STEPS}))
    assert there[-1].outcome is here[-1].outcome is Outcome.REACHED, there[-1].reason
    assert steps(there, 1) == steps(here, 1)
    assert there[-1].facts["device"] == "meta"
    assert "device" not in here[-1].facts
    assert FIRST in there[-1].facts


def test_trials_of_a_batch_on_a_device_end_where_they_are_told_to(asked):
    engine = Batched()
    for trial in (1, 2):
        engine.submit(replace(JOB, trial=trial))
    while not engine._parts or engine._parts[0].step < LOOK + 3:
        engine.reports(0.0)
    engine.interrupt(2)
    told = run(engine)
    while not told:
        told += engine.reports(0.0)
    assert (told[-1].trial, told[-1].outcome) == (2, Outcome.INTERRUPTED)
    assert steps(told, 2)[-1] == told[-1].step == LOOK + 4
    assert run(engine, replace(JOB, trial=3))[-1].outcome is Outcome.REACHED


@pytest.mark.parametrize("engine", [Inline, Batched])
def test_a_planted_question_fails_its_trial(asked, engine, monkeypatch):
    honest = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda self, x: honest(self, x * x.sum().sign().item()))
    monkeypatch.setattr(
        "autotune.tasks.mlp.side_by_side", lambda weights, x: x.sum().sign().item() * x
    )
    [*_, last] = run(engine(), JOB)
    assert last.outcome is Outcome.FAILED
    assert "item() cannot be called on meta tensors" in last.reason
