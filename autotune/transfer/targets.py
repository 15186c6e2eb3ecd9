"""The run that a setting is wanted for, said in numbers or as multiples of the searched one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import SpecError
from autotune.transfer.base import Route

Amount = int | float | str  # a number, or "4x": so many times what was searched
_TIMES = re.compile(r"([0-9]*\.?[0-9]+)x")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the run is to be; None: as the searched runs were.

    Args:
        batch: Samples of a batch.
        steps: Steps of the run.
        epochs: Passes over the data, instead of ``steps``.
        samples: Of an epoch, for ``epochs``.
        width: Hidden units, only as a multiple such as "4x".
        noise_scale: Samples of a batch beyond which a larger one brings no larger lr.
    """

    batch: Amount | None = None
    steps: Amount | None = None
    epochs: Amount | None = None
    samples: int | None = None
    width: Amount | None = None
    noise_scale: float | None = None

    def __bool__(self) -> bool:
        """Return whether anything is wanted."""
        return any(v is not None for v in (self.batch, self.steps, self.epochs, self.width))


def route(target: Target, task: Mapping[str, Any]) -> Route:
    """Return the way from a search's task to a target.

    Args:
        target: The run that is wanted.
        task: Facts of the task.

    Raises:
        SpecError: A number is out of range, shorter or narrower than what was searched, or cannot
            be worked out.
    """
    batch = _pair("batch", target.batch, task.get("batch_size"))
    steps = _pair("steps", _steps(target, batch), task.get("steps"))
    if steps and steps[1] < steps[0]:
        raise SpecError(
            f"target steps must be at least the {steps[0]} of the search, got {steps[1]}; search "
            "with fewer --steps instead"
        )
    if target.noise_scale is not None and not 0 < target.noise_scale < math.inf:
        raise SpecError(f"noise scale must be above 0, got {target.noise_scale:g}")
    return Route(
        batch=batch, steps=steps, width=_width(target.width), noise_scale=target.noise_scale
    )


def warnings(target: Target, way: Route) -> list[str]:
    """Return what is doubtful about a target before any rule is asked."""
    said = []
    if way.batch and way.batch[1] < way.batch[0]:
        said.append(
            f"the target's batch of {way.batch[1]} is smaller than the {way.batch[0]} of the "
            "search: the rules for lr were found for larger ones"
        )
    if target.batch is not None and target.steps is None and target.epochs is None and way.steps:
        said.append(
            f"the target's steps are not given: taken to be the {way.steps[0]} of the search"
        )
    return said


def _pair(what: str, wanted: Amount | None, known: Any) -> tuple[int, int] | None:
    """Return an amount there and here; None where nothing is known and nothing is wanted."""
    if wanted is None:
        return (known, known) if isinstance(known, int) else None
    times = _multiple(what, wanted)
    if not isinstance(known, int):
        raise SpecError(f"target {what} needs the {what} of the search, which is not recorded")
    if times is not None:
        return known, max(1, round(known * times))
    return known, _whole(what, wanted)


def _multiple(what: str, wanted: Amount) -> float | None:
    """Return the number before an x; None for another amount."""
    found = _TIMES.fullmatch(wanted.strip()) if isinstance(wanted, str) else None
    if found is None:
        return None
    times = float(found[1])
    if not times:
        raise SpecError(f"target {what} must be above 0, got '{wanted}'")
    return times


def _whole(what: str, wanted: Amount) -> int:
    number = _number(what, wanted)
    if number != int(number):
        raise SpecError(f"target {what} must be a whole number or a multiple as 4x, got {wanted!r}")
    if number < 1:
        raise SpecError(f"target {what} must be at least 1, got {wanted}")
    return int(number)


def _number(what: str, wanted: Amount) -> float:
    try:
        number = math.nan if isinstance(wanted, bool) else float(wanted)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SpecError(f"target {what} must be a number or a multiple as 4x, got {wanted!r}")
    return number


def _steps(target: Target, batch: tuple[int, int] | None) -> Amount | None:
    """Return the steps that are wanted, worked out where epochs are."""
    if target.epochs is None:
        return target.steps
    if target.steps is not None:
        raise SpecError(
            f"give target steps or target epochs, got {target.steps} steps and "
            f"{target.epochs} epochs"
        )
    epochs = _number("epochs", target.epochs)
    if epochs <= 0:
        raise SpecError(f"target epochs must be above 0, got {target.epochs}")
    if target.samples is None or batch is None:
        missing = "samples of an epoch" if target.samples is None else "samples of a batch"
        raise SpecError(f"target epochs needs the {missing} as well; give them, or target steps")
    return max(1, round(epochs * math.ceil(_whole("samples", target.samples) / batch[1])))


def _width(wanted: Amount | None) -> float:
    if wanted is None:
        return 1.0
    times = _multiple("width", wanted)
    if times is None:
        raise SpecError(
            f"target width must be a multiple of the searched one, as 4x, got {wanted!r}"
        )
    if times < 1:
        raise SpecError(f"target width must be at least 1x, the searched one, got '{wanted}'")
    return times
