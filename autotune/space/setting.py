"""One point of a space: the optimizer's arguments and the warm-up of the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting and where it came from.

    Args:
        origin: What proposed it.
        params: Coordinates in the space; samplers read these.
        hyper: Keyword arguments of ``autotune.optimizers.create``; runs read these.
        warmup: Fraction of the schedule spent warming up.
    """

    origin: str
    params: Mapping[str, float | str]
    hyper: Mapping[str, Any]
    warmup: float
