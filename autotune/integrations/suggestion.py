"""What another tuner chose in an optimizer's space, as an optimizer and a schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.errors import SpecError
from autotune.space.config import known, read, space_of, written
from autotune.studies.setting import Setting

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A setting that a tuner chose; unpacked, it is ``(hyper, warmup)``.

    Args:
        optimizer: Name of the optimizer.
        hyper: Its keyword arguments; betas are close to one.
        warmup: Fraction of the schedule in which the learning rate rises.
        steps: Optimizer steps of the schedule.

    Example:
        >>> from autotune.integrations.suggestion import from_config, presets
        >>> adan = from_config(presets("adan", steps=500)[0])
        >>> hyper, warmup = adan
        >>> hyper["lr"], round(warmup * adan.steps)
        (0.005, 100)
    """

    optimizer: str
    hyper: Mapping[str, Any]
    warmup: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse a schedule without steps."""
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise SpecError(f"steps must be a whole number of at least 1, got {self.steps!r}")

    def __iter__(self) -> Iterator[Any]:
        """Yield ``hyper`` as a new dictionary, then ``warmup``."""
        yield dict(self.hyper)
        yield self.warmup

    def build(self, model: nn.Module) -> Optimizer:
        """Return the optimizer for a model; parameters with ndim <= 1 are not decayed.

        Raises:
            TypeError: ``model`` is not a module.
        """
        from autotune.integrations.building import optimizer_of

        return optimizer_of(model, self.optimizer, self.hyper)

    def schedule(self, optimizer: Optimizer) -> LambdaLR:
        """Return the schedule: linear warm-up, then cosine to zero; step it after the optimizer.

        For Schedule-Free the rate stays at its peak instead.
        """
        from autotune.integrations.building import scheduler

        return scheduler(optimizer, self.steps, self.warmup)


def presets(
    optimizer: str, *, steps: int, space: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the settings to try first as configurations that ``from_config`` reads.

    Args:
        optimizer: Name of the optimizer.
        steps: Optimizer steps of the schedule.
        space: What to fix, narrow or choose, by parameter, as in ``autotune.tune``.

    Raises:
        SpecError: There is no such optimizer or parameter, or a range is empty.
    """
    whole = space_of(optimizer, space, steps)
    settings = [candidate.setting for candidate in known(optimizer, whole)]
    return [written(optimizer, steps, whole, setting.params) for setting in settings]


def from_config(config: Mapping[str, Any]) -> Suggestion:
    """Return the setting that a configuration of Ray, W&B or Hydra says.

    Args:
        config: Coordinates by name, ``optimizer`` and ``steps``: what ``ray.param_space`` and the
            exports ``wandb`` and ``hydra-sweeper`` name. What it holds besides is left alone.

    Raises:
        SpecError: A name is missing, or the optimizer is unknown.
    """
    optimizer, setting, steps = read(config)
    return of(optimizer, setting, steps)


def of(optimizer: str, setting: Setting, steps: int) -> Suggestion:
    """Return a setting with its optimizer and the steps of its schedule."""
    return Suggestion(optimizer=optimizer, hyper=setting.hyper, warmup=setting.warmup, steps=steps)
