"""How a callback reports: which measurements it passes on, and what it says when there are none."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any, Protocol


class Report(Protocol):
    """Takes a measurement, and says whether to go on: ``autotune.report``, ``Trial.report``."""

    def __call__(self, step: int, loss: float, accuracy: float | None = None) -> bool:
        """Return False where training shall stop now."""


class Planned(Protocol):
    """A trial: where it is measured, and how it reports."""

    @property
    def evaluate(self) -> Collection[int]:
        """Steps at which to measure."""

    def report(self, step: int, loss: float, accuracy: float | None = None) -> bool:
        """Return False where training shall stop now."""


class Reporter:
    """Passes on each measurement of a training once, in the order of steps.

    Args:
        report: Where to; None is the trial's, without a trial ``autotune.report``.
        trial: Only measurements at its steps are passed on; None passes on all.
        metric: What the loss is called.
    """

    def __init__(self, report: Report | None, trial: Planned | None, metric: str) -> None:
        self._report, self._trial, self._metric = report, trial, metric
        self._last = 0  # a measurement before the first step says nothing of a setting
        self._seen: set[str] = set()

    def due(self, step: int) -> bool:
        """Return whether the trial is to be measured at a step."""
        return self._trial is not None and step in self._trial.evaluate

    def tell(self, step: int, metrics: Any, accuracy: str) -> bool:
        """Report what was measured at a step; return whether training goes on.

        Args:
            step: Optimizer steps done.
            metrics: Numbers by name; those without the loss are of other data and left out.
            accuracy: Name of the accuracy, a fraction; it may be missing.
        """
        self._seen |= set(metrics)
        new = step > self._last and (self._trial is None or self.due(step))
        if self._metric not in metrics or not new:
            return True
        self._last = step
        found = metrics.get(accuracy)
        send = self._report or (_default() if self._trial is None else self._trial.report)
        return send(step, float(metrics[self._metric]), None if found is None else float(found))

    def check(self) -> None:
        """Warn if nothing was reported: a search can only say that a loss is missing."""
        if self._last:
            return
        if not self._seen:
            text = "nothing was measured, so nothing was reported; evaluate during training"
        else:
            had = ", ".join(sorted(self._seen))
            text = (
                f"no measurement had '{self._metric}', only {had}; name one: Callback(metric=...)"
            )
        warnings.warn(text, stacklevel=2)


def _default() -> Report:
    import autotune

    report: Report = autotune.report
    return report
