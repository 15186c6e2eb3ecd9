"""Tell when a trial of a user's own loop that was taken again measures something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.studies.records import TrialRecord
from autotune.tasks.base import LOOP
from autotune.training.job import Report


@dataclass(kw_only=True)
class Repeats:
    """Compares repeated measurements with the stored ones.

    Args:
        own: Whether trials are loops of a user's own: others cannot begin otherwise unseen.
    """

    own: bool
    _told: bool = False

    @classmethod
    def of(cls, task: Mapping[str, object]) -> Repeats:
        """Return what compares the trials of a task."""
        return cls(own=LOOP in task)

    def look(
        self, optimizer: str, trial: TrialRecord, known: Mapping[int, float], report: Report
    ) -> str | None:
        """Return a sentence if a step was measured again with another loss; once.

        Args:
            optimizer: Whose trial it is.
            trial: The trial.
            known: Its stored losses, by step.
            report: What it has measured now.
        """
        if self._told or not self.own:
            return None
        for point in report.points:
            before = known.get(point.step)
            if point.loss is not None and before is not None and point.loss != before:
                self._told = True
                return (
                    f"{optimizer} trial {trial.number} was taken again and is not reproducible: "
                    f"its loss at step {point.step} was {before:.6g} and is {point.loss:.6g} "
                    f"({point.loss - before:+.2g}); draw all chance from the seed that is given"
                )
        return None
