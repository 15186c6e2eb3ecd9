"""Runs of another tool: what they were trained with, and what came of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotune.errors import SpecError, UnknownName
from autotune.registry import unknown


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of another tool.

    Args:
        name: What it is called there.
        values: What it was trained with, by the names there; from a table, all its columns.
        value: What it is ranked by.
    """

    name: str
    values: Mapping[str, Any]
    value: float


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What was read of a source.

    Args:
        source: What the source is called in a sentence, as "study 's' of Optuna".
        found: The runs that ended with a number.
        left_out: How many others there are, by why they are left out.
        declared: Whether all values are what was varied; else they may be anything.
        maximize: What the source says of its direction; None where it says nothing.
    """

    source: str
    found: Sequence[Run]
    left_out: Mapping[str, int] = field(default_factory=dict)
    declared: bool = True
    maximize: bool | None = None


class Sorting:
    """Sorts runs into those that count and those that are left out."""

    def __init__(self) -> None:
        self.found: list[Run] = []
        self.left_out: Counter[str] = Counter()

    def take(self, name: str, values: Mapping[str, Any], value: float | None) -> None:
        """Take a run that ended, if it has a number."""
        if value is None:
            self.left_out["without a value"] += 1
        elif not math.isfinite(value):
            self.left_out["not finite"] += 1
        else:
            self.found.append(Run(name=name, values=values, value=value))


def number(value: Any) -> float | None:
    """Return what a file holds as a number, NaN too; None where it is none."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number that no float holds
        return math.inf
    except (TypeError, ValueError):
        return None


def named(metric: str | None, known: Sequence[str], source: str) -> str:
    """Return the name of what runs are ranked by; raises SpecError or UnknownName."""
    if metric is None:
        raise SpecError(
            f"{source} does not say what its runs are ranked by; name it with --metric, as one of "
            f"{', '.join(known)}"
        )
    if metric not in known:
        raise UnknownName(f"{source}: {unknown('metric', metric, known)}")
    return metric
