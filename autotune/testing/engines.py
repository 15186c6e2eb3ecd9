"""What every engine has to do; a plugin subclasses ``EngineContract`` in its tests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autotune.engines.base import Engine
from autotune.testing.expect import expect, same
from autotune.testing.trials import nested
from autotune.training.job import Job, Outcome, Report

Start = Callable[[], Engine]
ENDLESS = 1_000_000  # steps


class EngineContract:
    """Tests of one engine; a subclass's module gives the fixtures ``start`` and ``engine``.

    ``start`` returns what makes a new engine, and ``engine`` is one that was started. Where that
    takes long, let a module share it: the first test alone needs another, and comes before it.

    Attributes:
        task: What is trained: arguments of ``autotune.tasks.resolve.resolve``.
        patience: Seconds within which a job has to end.
    """

    task: ClassVar[Mapping[str, Any]] = {
        "model": "gpt-pico", "data": None, "steps": 9, "batch_size": 4,
    }  # fmt: skip
    patience: ClassVar[float] = 60.0

    def job(self, trial: int = 1, **changes: Any) -> Job:
        """Return a job that takes a moment."""
        fields: dict[str, Any] = {
            "trial": trial, "attempt": 1, "task": self.task, "optimizer": "adamw",
            "hyper": {"lr": 1e-3}, "warmup": 0.1, "seed": 3, "start": 0, "stop": 9, "target": 9,
            "evaluate": (1, 3, 9), **changes,
        }  # fmt: skip
        return Job(**nested(**fields))

    def endless(self, trial: int = 1) -> Job:
        """Return a job that ends when it is told to, and is told of meanwhile."""
        often = tuple(range(5, 50_000, 5))
        task = {**self.task, "steps": ENDLESS}
        return self.job(trial, task=task, stop=ENDLESS, target=ENDLESS, evaluate=often)

    def ended(self, engine: Engine, *jobs: Job) -> dict[int, list[Report]]:
        """Return what jobs report until all of them are over, by trial."""
        for job in jobs:
            engine.submit(job)
        return self.told(engine, [job.trial for job in jobs])

    def told(self, engine: Engine, trials: Iterable[int]) -> dict[int, list[Report]]:
        """Return what is reported until these trials are over."""
        found: dict[int, list[Report]] = {trial: [] for trial in trials}
        deadline = time.monotonic() + self.patience
        while not all(reports and over(reports[-1]) for reports in found.values()):
            expect(time.monotonic() < deadline, f"jobs did not end: {found}")
            for report in engine.reports(1.0):
                found[report.trial].append(report)
        return found

    def begun(self, engine: Engine, job: Job) -> None:
        """Start a job, and return when it is told that it goes on."""
        engine.submit(job)
        deadline = time.monotonic() + self.patience
        while not engine.reports(1.0):
            expect(time.monotonic() < deadline, "a job that runs is never told of")

    def test_what_was_closed_is_closed_again_without_harm(self, start: Start) -> None:
        """End an engine twice: once by the search, once by who started it."""
        engine = start()
        self.ended(engine, self.job())
        engine.close()
        engine.close()

    def test_nothing_is_reported_where_nothing_runs(self, engine: Engine) -> None:
        """Ask an idle engine."""
        same("what is reported", list(engine.reports(0.0)), [])
        expect(engine.slots >= 1, f"slots must be at least 1, got {engine.slots}")

    def test_a_job_tells_its_losses_and_ends_at_its_stop(self, engine: Engine) -> None:
        """Run one from its first step to its last."""
        reports = self.ended(engine, self.job(7, attempt=4))[7]
        last = reports[-1]
        same("how it ends", (last.outcome, last.step), (Outcome.REACHED, 9))
        same("whose reports they are", {(r.trial, r.attempt) for r in reports}, {(7, 4)})
        same("the steps measured", sorted(losses(reports)), [1, 3, 9])
        expect(all(map(math.isfinite, losses(reports).values())), "a loss is not finite")
        expect(bool(last.worker), "the last report does not say who ran the job")
        expect(last.seconds > 0, f"seconds must be above 0, got {last.seconds}")

    def test_equal_jobs_tell_equal_losses(self, engine: Engine) -> None:
        """Run one twice, and another seed."""
        first = losses(self.ended(engine, self.job())[1])
        same("the losses of an equal job", losses(self.ended(engine, self.job())[1]), first)
        other = losses(self.ended(engine, self.job(seed=4))[1])
        expect(other != first, "another seed gave the same losses")

    def test_every_slot_takes_a_job(self, engine: Engine) -> None:
        """Hand over as many as there are slots; each is its own."""
        jobs = [self.job(n, hyper={"lr": 1e-3 * (1 + n)}) for n in range(engine.slots)]
        reports = self.ended(engine, *jobs)
        for trial, told in reports.items():
            same(f"the end of trial {trial}", told[-1].outcome, Outcome.REACHED)
        curves = {tuple(losses(told).values()) for told in reports.values()}
        same("different curves", len(curves), engine.slots)

    def test_a_job_goes_on_as_if_it_had_not_paused(self, engine: Engine, tmp_path: Path) -> None:
        """Stop at a rung, go on from there, and end where an uninterrupted job does."""
        whole = losses(self.ended(engine, self.job())[1])
        state = str(tmp_path / "1-3.pt")
        paused = self.ended(engine, self.job(stop=3, checkpoint=state))[1][-1]
        same("where it pauses", (paused.outcome, paused.step), (Outcome.REACHED, 3))
        rest = self.job(start=3, resume=state, checksum=paused.checksum)
        again = losses(self.ended(engine, rest)[1])
        same("the loss at the end", again[9], pytest.approx(whole[9], rel=1e-5))

    def test_an_interrupted_job_ends_and_the_next_one_runs(self, engine: Engine) -> None:
        """Interrupt another trial, then this one, and once more when it is over."""
        self.begun(engine, self.endless())
        engine.interrupt(2)
        expect(
            all(not over(report) for report in engine.reports(0.5)),
            "a job ended when another was interrupted",
        )
        engine.interrupt(1)
        last = self.told(engine, [1])[1][-1]
        same("how it ends", last.outcome, Outcome.INTERRUPTED)
        expect(0 < last.step < ENDLESS, f"it was interrupted at step {last.step}")
        engine.interrupt()
        same("how the next ends", self.ended(engine, self.job())[1][-1].outcome, Outcome.REACHED)

    def test_a_killed_job_is_lost_unless_there_is_nothing_to_kill(self, engine: Engine) -> None:
        """Kill another trial, then this one; where jobs only run while asked they go on."""
        engine.submit(self.job())
        engine.kill(2)
        same("how it ends", self.told(engine, [1])[1][-1].outcome, Outcome.REACHED)
        engine.submit(self.job())
        engine.kill()
        end = self.told(engine, [1])[1][-1].outcome
        expect(end in {Outcome.LOST, Outcome.REACHED}, f"a killed job ends {end}")
        same("how the next ends", self.ended(engine, self.job())[1][-1].outcome, Outcome.REACHED)

    def test_what_diverges_and_what_raises_is_told(self, engine: Engine) -> None:
        """Run a learning rate beyond all bounds, and a model that is not there."""
        far = self.ended(engine, self.job(hyper={"lr": 1e30}))[1][-1]
        same("how it ends", far.outcome, Outcome.DIVERGED)
        nowhere = {**self.task, "model": "no/such/file.py:model"}
        lost = self.ended(engine, self.job(task=nowhere))[1][-1]
        same("how it ends", lost.outcome, Outcome.FAILED)
        expect(bool(far.reason and lost.reason), "the reports give no reason")
        same("how the next ends", self.ended(engine, self.job())[1][-1].outcome, Outcome.REACHED)


def over(report: Report) -> bool:
    """Say whether a job is over with a report."""
    return report.outcome is not Outcome.PROGRESS


def losses(reports: Iterable[Report]) -> dict[int, float]:
    """Return the validation losses that were told, by step."""
    points = [point for report in reports for point in report.points]
    return {point.step: point.loss for point in points if point.loss is not None}
