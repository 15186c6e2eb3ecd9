"""A setting that a search found, ready to train with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.cli.views import format
from autotune.cli.views.comparison import setting
from autotune.errors import SpecError
from autotune.export import render
from autotune.results import tuned as records

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

    from autotune.transfer.targets import Amount


@dataclass(frozen=True, kw_only=True, repr=False)
class Tuned:
    """A setting that a search found, ready to train with.

    Args:
        record: The setting with its evidence and warnings: what exports are written from.

    Example:
        >>> import torch, autotune
        >>> tuned = autotune.load("line").tuned("adan")
        >>> optimizer = tuned.build(torch.nn.Linear(4, 1))
        >>> scheduler = tuned.schedule(optimizer, steps=1_000)
        >>> optimizer.param_groups[0]["initial_lr"] == tuned.hyper["lr"]
        True
    """

    record: records.Tuned

    @property
    def optimizer(self) -> str:
        """Name of the optimizer."""
        return self.record.optimizer

    @property
    def hyper(self) -> dict[str, Any]:
        """Keyword arguments of the optimizer; betas are close to one."""
        return dict(self.record.hyper)

    @property
    def warmup(self) -> float:
        """Fraction of the schedule in which the learning rate rises."""
        return self.record.warmup

    def at(
        self,
        *,
        batch: Amount | None = None,
        steps: Amount | None = None,
        epochs: Amount | None = None,
        samples: int | None = None,
        width: str | None = None,
        noise_scale: float | None = None,
        rules: Sequence[str] | None = None,
    ) -> Tuned:
        """Return the setting restated for another run, by named rules (docs/transfer.md).

        ``record.changes`` lists each value before and after, with its rule and the rule's source;
        ``record.warnings`` what is doubtful.

        Args:
            batch: Samples of a batch, or as ``"4x"`` a multiple of the searched runs'.
            steps: Optimizer steps of the run, likewise.
            epochs: Passes over the data, instead of ``steps``; needs ``samples``.
            samples: Of an epoch.
            width: Hidden units as a multiple of the searched model's; rule ``"width"`` reads it.
            noise_scale: Samples of a batch beyond which a larger one brings no larger lr.
            rules: Names; None: the default set, which keeps lr and weight decay. ``["literature"]``
                restates them where a rule applies, ``["none"]`` changes nothing.

        Raises:
            SpecError: A number is out of range, the run would be shorter than the searched ones, or
                a named rule does not apply to the optimizer.
            UnknownName: No rule has that name.

        Example:
            >>> import autotune
            >>> tuned = autotune.load("line").tuned("adan")
            >>> [change.name for change in tuned.at(steps="5x").record.changes]
            ['warmup']
        """
        from autotune.results.restated import restated
        from autotune.transfer.targets import Target

        target = Target(
            batch=batch,
            steps=steps,
            epochs=epochs,
            samples=samples,
            width=width,
            noise_scale=noise_scale,
        )
        if not target:
            raise SpecError("a target needs a batch, steps, epochs or a width, got none of them")
        return Tuned(record=restated(self.record, target, rules))

    def build(self, model: nn.Module) -> Optimizer:
        """Return the optimizer for a model; parameters with ndim <= 1 are not decayed.

        Schedule-Free's average is what to measure and save: see its ``eval`` and ``train``.

        Raises:
            TypeError: ``model`` is not a module.
        """
        from autotune.training.building import optimizer_of

        return optimizer_of(model, self.optimizer, self.hyper)

    def schedule(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """Return the schedule over ``steps`` optimizer steps: linear warm-up, then cosine to zero.

        For Schedule-Free the rate stays at its peak instead; a refined schedule is a table. Call
        its ``step`` after each ``optimizer.step()``.

        Raises:
            SpecError: ``steps`` is less than 1.
        """
        from autotune.training.lr_schedule import schedule

        if steps < 1:
            raise SpecError(f"steps must be at least 1, got {steps}")
        return schedule(optimizer, steps, self.warmup, table=self.record.schedule.table)

    def export(self, form: str) -> str:
        """Return the setting as ``"torch"``, ``"yaml"``, ``"json"`` or another registered export.

        Raises:
            UnknownName: No export has that name.
        """
        return render(self.record, form)

    def __repr__(self) -> str:
        parts = setting(self.hyper, self.warmup).items()
        return f"{self.optimizer}: " + ", ".join(f"{k} {v}" for k, v in parts if v != format.NONE)
