"""A setting: what a trial is trained with, whatever the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of a space: the optimizer's arguments and the warm-up of the schedule.

    Args:
        params: Coordinates in the space; samplers read these.
        hyper: Keyword arguments of ``autotune.optimizers.create``; runs read these.
        warmup: Fraction of the schedule spent warming up.
    """

    params: Mapping[str, float | str]
    hyper: Mapping[str, Any]
    warmup: float

    def trains_like(self, other: Setting) -> bool:
        """Return whether runs of both are the same: coordinates do not matter to a run."""
        return self.hyper == other.hyper and self.warmup == other.warmup


def flat(hyper: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield arguments one number each: betas become beta1, beta2 and so on."""
    for name, value in hyper.items():
        if isinstance(value, list | tuple):
            yield from ((f"{name.removesuffix('s')}{k}", one) for k, one in enumerate(value, 1))
        else:
            yield name, value
