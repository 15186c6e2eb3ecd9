"""Keras: a callback that reports, in the words of ``model.fit``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras.callbacks import Callback as KerasCallback

from autotune.integrations.reports import Planned, Report, Reporter

__all__ = ["Callback"]


class Callback(KerasCallback):  # type: ignore[misc]  # keras has no types
    """Reports the validation loss of each epoch, and stops training when told to.

    A step is one of the optimizer, counted by ``model.optimizer.iterations``.

    Args:
        report: Where to; None is the trial's, without a trial ``autotune.report``, which does
            nothing outside a search.
        trial: Only epochs that end at its steps count.
        metric: The loss in an epoch's logs.
        accuracy: The accuracy there, a fraction; it may be missing.
    """

    def __init__(
        self,
        report: Report | None = None,
        *,
        trial: Planned | None = None,
        metric: str = "val_loss",
        accuracy: str = "val_accuracy",
    ) -> None:
        super().__init__()
        self._reporter = Reporter(report, trial, metric)
        self._accuracy = accuracy

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report what was measured."""
        step = int(self.model.optimizer.iterations)
        if not self._reporter.tell(step, logs or {}, self._accuracy):
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Warn if nothing was reported."""
        self._reporter.check()
