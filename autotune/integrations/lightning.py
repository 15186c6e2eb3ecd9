"""Lightning: a callback that reports, and what ``configure_optimizers`` returns for a setting."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

try:
    from lightning.pytorch import Callback as LightningCallback
except ModuleNotFoundError:  # the same under its other name
    from pytorch_lightning import Callback as LightningCallback

from autotune.errors import SpecError
from autotune.integrations.building import Found, optimizer_of, scheduler
from autotune.integrations.reports import Planned, Report, Reporter
from autotune.training.averages import averaged

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
    from torch import nn

__all__ = ["Callback", "configure", "interval"]


class Callback(LightningCallback):  # type: ignore[misc]  # lightning is not always there
    """Reports the loss of each validation, and stops the Trainer when told to.

    A step is one of the optimizer; with accumulated gradients it takes several batches. On several
    devices, log the loss with ``sync_dist=True``. Schedule-Free's average is what is validated.

    Args:
        report: Where to; None is the trial's, without a trial ``autotune.report``, which does
            nothing outside a search.
        trial: Only validations at its steps count; ``interval`` says how often to validate.
        metric: What the module logs the loss as, ``self.log("val_loss", ...)``.
        accuracy: What it logs the accuracy as, a fraction; it may be missing.

    Raises:
        SpecError: The Trainer may not stop early, or it does not validate at the trial's steps.
    """

    def __init__(
        self,
        report: Report | None = None,
        *,
        trial: Planned | None = None,
        metric: str = "val_loss",
        accuracy: str = "val_accuracy",
    ) -> None:
        self._reporter = Reporter(report, trial, metric)
        self._trial, self._accuracy = trial, accuracy
        self._measured = ExitStack()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a Trainer that would train on when told to stop, or measure elsewhere."""
        least = {"min_steps": trainer.min_steps, "min_epochs": trainer.min_epochs}
        for name, value in least.items():
            if value:
                raise SpecError(f"{name} must not be set where training may stop, got {value}")
        if self._trial is not None:
            _check_validated(trainer, self._trial)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put averages into the model, for optimizers that keep one."""
        self._measured.close()
        for optimizer in trainer.optimizers:
            self._measured.enter_context(averaged(optimizer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what was measured; on every rank, since all of them have to stop."""
        self._measured.close()
        if trainer.sanity_checking:
            return
        if not self._reporter.tell(trainer.global_step, trainer.callback_metrics, self._accuracy):
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if nothing was reported."""
        self._reporter.check()


def _check_validated(trainer: Trainer, trial: Planned) -> None:
    """Refuse a Trainer that validates at other steps than a trial's."""
    every, batches = trainer.val_check_batch, trainer.accumulate_grad_batches
    wanted = interval(trial, batches)
    counts_on = trainer.check_val_every_n_epoch is None
    if not counts_on or math.isinf(every) or wanted % int(every):
        raise SpecError(
            f"the trial is measured at steps {', '.join(map(str, sorted(trial.evaluate)))}, where "
            f"this Trainer does not validate; give it val_check_interval={wanted} and "
            "check_val_every_n_epoch=None"
        )


def interval(trial: Planned, accumulate_grad_batches: int = 1) -> int:
    """Return ``val_check_interval`` in batches, with which a Trainer validates at a trial's steps.

    It goes with ``check_val_every_n_epoch=None``, so that batches are counted across epochs.

    Args:
        trial: Where it is measured is what counts.
        accumulate_grad_batches: Batches that make an optimizer step.
    """
    return math.gcd(*trial.evaluate) * accumulate_grad_batches


def configure(module: nn.Module, found: Found, steps: int) -> dict[str, Any]:
    """Return what ``configure_optimizers`` has to return for a setting.

    The schedule is stepped after each optimizer step; by itself, Lightning would step it once an
    epoch. Parameters with ndim <= 1 are not decayed.

    Args:
        module: The LightningModule, or the part of it that is trained.
        found: A trial, ``autotune.load(...).best``, or what another tuner chose.
        steps: Optimizer steps of the whole schedule, the Trainer's ``max_steps``.

    Raises:
        SpecError: ``steps`` is less than 1.

    Example:
        >>> class Model(LightningModule):  # doctest: +SKIP
        ...     def configure_optimizers(self):
        ...         return configure(self, self.trial, self.trainer.max_steps)
    """
    optimizer = optimizer_of(module, found.optimizer, found.hyper)
    schedule = scheduler(optimizer, steps, found.warmup)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
