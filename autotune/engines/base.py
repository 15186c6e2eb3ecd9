"""The one seam of engines: where trials run, and what the search asks of it."""

from __future__ import annotations

from typing import Protocol

from autotune.training.job import Job, Report


class Backend(Protocol):
    """Where trials run.

    It is started before anything of a search is stored: a class that cannot run here raises when
    it is made. Two static methods may refuse earlier: ``check(task)`` what it cannot train, and
    ``ready``, which takes what the constructor does, what cannot run here.
    """

    slots: int  # jobs that run side by side

    def submit(self, job: Job) -> None:
        """Start a job; at most ``slots`` may be under way."""

    def reports(self, timeout: float) -> list[Report]:
        """Return what was reported, waiting up to ``timeout`` seconds for the first."""

    def interrupt(self, trial: int | None = None) -> None:
        """Ask a trial's job, or every job, to save and stop after the step it is in."""

    def kill(self, trial: int | None = None) -> None:
        """End the worker of a trial's job, or of every job, at once; ``reports`` tells it as LOST.

        For workers that do not answer ``interrupt``. A backend whose jobs only advance inside
        ``reports`` has nothing to kill, and does nothing.
        """

    def close(self) -> None:
        """End every worker; nothing where that was done before."""
