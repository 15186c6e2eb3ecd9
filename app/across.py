"""Two searches of one task side by side: what each found, and what differs between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

import pandas as pd

from autotune.app import listing, words
from autotune.results.comparison import Comparison, Row
from autotune.results.intervals import Estimate, paired, verdict
from autotune.search.facts import another_task
from autotune.studies.records import SearchRecord

SHORT = 24  # characters of a search's name in a legend

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two searches of one task.

    Args:
        one: What the first found.
        other: What the second found.
    """

    one: Comparison
    other: Comparison

    @property
    def is_paired(self) -> bool:
        """Whether equal seed indices are equal seeds: runs of both then began alike."""
        roots = [each.search.spec.get("seed") for each in (self.one, self.other)]
        return roots[0] is not None and roots[0] == roots[1]

    @property
    def names(self) -> tuple[str, str]:
        """How legends call the two."""
        one, other = (_short(each.search.name) for each in (self.one, self.other))
        return (one, other) if one != other else (f"{one} (1)", f"{other} (2)")

    @property
    def rows(self) -> list[Row]:
        """The optimizers of both, named with their search, the lowest tuned loss first.

        Both rows of an optimizer stand together.
        """
        named = [
            replace(row, optimizer=words.called(row.optimizer, name))
            for name, each in zip(self.names, (self.one, self.other), strict=True)
            for row in each.rows
        ]
        first: dict[str, float] = {}
        for row in sorted(named, key=_mean):
            first.setdefault(words.optimizer_of(row.optimizer), _mean(row))
        return sorted(named, key=lambda row: first[words.optimizer_of(row.optimizer)])

    def merged(self, one: Mapping[str, Value], other: Mapping[str, Value]) -> dict[str, Value]:
        """Return values by optimizer of both searches, named as in ``rows``."""
        first, second = self.names
        items = chain(
            ((words.called(name, first), value) for name, value in one.items()),
            ((words.called(name, second), value) for name, value in other.items()),
        )
        return dict(items)


def _short(name: str) -> str:
    return name if len(name) <= SHORT else f"{name[: SHORT - 1]}…"


def _mean(row: Row) -> float:
    return float("inf") if row.tuned.loss is None else row.tuned.loss.mean


def refusal(one: SearchRecord, other: SearchRecord) -> str | None:
    """Return why the losses of two searches may not be compared; None: they may."""
    differing = another_task(one.task, other.task)
    if not differing:
        return None
    return (
        f"{one.name} and {other.name} trained different tasks (another {', '.join(differing)}): "
        "their losses cannot be compared"
    )


def conclusion(pair: Pair) -> str:
    """Say which search found the better setting, and whether that may be luck."""
    best = [next((r for r in each.rows if r.tuned.loss), None) for each in (pair.one, pair.other)]
    for row, each in zip(best, (pair.one, pair.other), strict=True):
        if row is None:
            return f"no setting of {each.search.name} was judged yet"
    one, other = (row for row in best if row is not None)
    ours, theirs = (
        f"tuned {row.optimizer} of {each.search.name}"
        for row, each in ((one, pair.one), (other, pair.other))
    )
    if pair.is_paired and (difference := paired(one.tuned.losses, other.tuned.losses)):
        return verdict(difference, ours, theirs)
    return f"{ours} has {one.tuned.loss}, {theirs} {other.tuned.loss}; they ran on different seeds"


def differences(pair: Pair) -> dict[str, Estimate]:
    """Return the second search's tuned loss less the first's for optimizers of both, by seed."""
    if not pair.is_paired:
        return {}
    tuned = {row.optimizer: row.tuned.losses for row in pair.one.rows}
    found = {
        row.optimizer: paired(row.tuned.losses, tuned[row.optimizer])
        for row in pair.other.rows
        if row.optimizer in tuned
    }
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def table(pair: Pair) -> pd.DataFrame:
    """Return a row for each tuned setting: its loss, what it cost and how it differs."""
    every = [(each, row) for each in (pair.one, pair.other) for row in each.rows]
    rows = [
        {
            "search": each.search.name,
            "optimizer": row.optimizer,
            "tuned loss": str(row.tuned.loss or ""),
            "default loss": str(row.default.loss or ""),
            "full runs": round(row.runs, 2),
            "trials": row.trials,
        }
        for each, row in every
    ]
    beside, _ = listing.varied([row.tuned.setting for _, row in every])
    return pd.concat([pd.DataFrame(rows), beside], axis=1).fillna("")
