"""The interface of engines: where trials run."""

from __future__ import annotations

from typing import Protocol

from autotune.training.job import Job, Report


class Engine(Protocol):
    """Where trials run.

    An engine is made before anything of a search is stored, so its constructor raises if it cannot
    run here. Optional static methods can refuse earlier: ``check(task)`` a task that it cannot
    train, ``check_optimizers(names)`` an optimizer that it cannot train with, and ``ready``, with
    the arguments of the constructor, a machine on which it cannot run.
    An optional attribute ``notice`` is a sentence for the user. An optional method
    ``narrow(slots)`` lets it run fewer jobs at the same time from then on, while none runs.
    """

    slots: int  # jobs that run at the same time

    def submit(self, job: Job) -> None:
        """Start a job; at most ``slots`` may run."""

    def reports(self, timeout: float) -> list[Report]:
        """Return new reports; waits up to ``timeout`` seconds for the first."""

    def interrupt(self, trial: int | None = None) -> None:
        """Ask a trial's job, or every job, to save and stop after the step it is in."""

    def kill(self, trial: int | None = None) -> None:
        """Kill the worker of a trial's job, or of every job; ``reports`` returns them as LOST.

        For workers that do not answer ``interrupt``. An engine whose jobs only advance inside
        ``reports`` has nothing to kill and does nothing.
        """

    def close(self) -> None:
        """End all workers; may be called twice."""
