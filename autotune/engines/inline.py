"""Run trials in this process, one after another: for tests, debuggers and exact replays."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from autotune.training import paused
from autotune.training.job import Job, Report
from autotune.training.loading import forget
from autotune.training.process import single_threaded
from autotune.training.runner import perform
from autotune.training.verdict import spoilt


class Inline:
    """Run one trial at a time in this process; for debugging and exact repeats.

    A job advances while ``reports`` is called.
    """

    slots = 1

    def __init__(self, workers: int = 1) -> None:
        forget()
        self._threads = torch.get_num_threads()
        single_threaded()
        self._job: Iterator[Report] | None = None
        self._trial: int | None = None
        self._interrupted = False

    def submit(self, job: Job) -> None:
        """Take a job; it starts when reports are read."""
        self._trial, self._interrupted = job.trial, False
        self._job = perform(job, lambda: self._interrupted, "inline")

    def reports(self, timeout: float) -> list[Report]:
        """Advance the job to its next report.

        Raises AutotuneError if a GPU reported an error that spoils this process.
        """
        report = next(self._job, None) if self._job else None
        if report is None:
            self._job = None
        elif report.spoilt:
            raise spoilt(report.reason)
        return [report] if report else []

    def interrupt(self, trial: int | None = None) -> None:
        """Ask the job to save and stop after the step it is in."""
        self._interrupted |= trial in (None, self._trial)

    def kill(self, trial: int | None = None) -> None:
        """Do nothing: between two calls of ``reports`` nothing runs that could be killed."""

    def close(self) -> None:
        """Close what is paused, and restore the process's number of threads."""
        self._job = None
        paused.close_all()
        torch.set_num_threads(self._threads)
        torch.set_flush_denormal(False)
