"""What ``transfer.py`` recorded, and its statistics: which rules carry a setting over best.

A task counts once, whatever its optimizers, targets and seeds: what is found is to hold for other
tasks. Differences are of log losses, paired by seed, between the tuned setting as one set of rules
carries it over and as the reference does.

The test: differences in units of a task's spread over seeds, signed ranks of them over tasks, and
all signs of tasks flipped together; of several sets the largest statistic of each flip counts, so
the error over all of them is at most ``LEVEL``. Intervals: tasks are drawn again, then seeds within
each case, at a level divided by the number of sets.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
MARGIN = math.log(1.01)  # a loss that is higher by less is as good
DRAWS = 4000
MOST_FLIPS = 2**14  # of signs; all of them up to 14 tasks
COLUMNS = ("task", "optimizer", "steps", "batch", "seed", "which", "rules", "setting", "loss")

Array = NDArray[np.float64]
Sampled = Mapping[str, Sequence[Array]]  # by task, of each case: seeds x sets


@dataclass(frozen=True, kw_only=True, order=True)
class Case:
    """A task and an optimizer at a target: so many times the steps and the batch."""

    task: str
    optimizer: str
    steps: int
    batch: int


class Runs:
    """Runs in a file, a line each; one that was cut short when the script died is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if not whole or whole != text:  # another process may be appending to it
            path.write_text(whole or ",".join(COLUMNS) + "\n")
        self.losses: dict[tuple[Case, str], dict[int, float]] = {}  # by setting, then by seed
        with path.open() as file:
            for row in csv.DictReader(file):
                where = {name: int(row[name]) for name in ("steps", "batch")}
                case = Case(task=row["task"], optimizer=row["optimizer"], **where)
                self._keep(case, row["setting"], int(row["seed"]), float(row["loss"]))

    def _keep(self, case: Case, setting: str, seed: int, loss: float) -> None:
        self.losses.setdefault((case, setting), {})[seed] = loss

    def add(self, case: Case, seed: int, who: tuple[str, str, str], loss: float) -> None:
        """Append a run of ``who``: which setting, the first set of rules to give it, its hash."""
        with self.path.open("a") as file:
            file.write(",".join(map(str, (*astuple(case), seed, *who, f"{loss:.7g}"))) + "\n")
        self._keep(case, who[2], seed, loss)

    def of(self, case: Case, setting: str) -> dict[int, float]:
        """Return a setting's losses in a case by seed."""
        return self.losses.get((case, setting), {})


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A set of rules against the reference.

    Args:
        rules: Name of the set.
        mean: Difference of log losses, each task counting alike; below 0 the set is better.
        low: End of its interval, at a level corrected for the number of sets.
        high: Likewise.
        spreads: The same in units of the tasks' spread over seeds.
        better: Tasks whose mean is below 0.
        worse: Tasks whose mean is above 0.
        p: Of the test, corrected for the number of sets; 1 where nothing differs.
    """

    rules: str
    mean: float
    low: float
    high: float
    spreads: float
    better: int
    worse: int
    p: float

    @property
    def shown(self) -> bool:
        """Whether the test shows a difference."""
        return self.p < LEVEL


def effects(names: Sequence[str], sampled: Sampled, spreads: Mapping[str, float]) -> list[Effect]:
    """Return each set's effect.

    Args:
        names: Of the sets, in the order of the columns.
        sampled: Differences to the reference.
        spreads: By task, the standard deviation of log losses over seeds.
    """
    means = np.array([_of_task(cases) for cases in sampled.values()])
    units = means / np.array([spreads[task] for task in sampled])[:, None]
    lows, highs = intervals(sampled)
    found = zip(names, means.T, units.T, lows, highs, corrected(units), strict=True)
    return [
        Effect(
            rules=name,
            mean=float(own.mean()),
            low=float(low),
            high=float(high),
            spreads=float(unit.mean()),
            better=int((own < 0).sum()),
            worse=int((own > 0).sum()),
            p=float(p),
        )
        for name, own, unit, low, high, p in found
    ]


def corrected(units: Array) -> Array:
    """Return the p of each column of tasks x sets: signed ranks, the largest of each flip."""
    ranks = np.stack([_ranks(np.abs(column)) for column in units.T], axis=1)
    signed = np.sign(units) * ranks
    size = np.sqrt((ranks**2).sum(0))
    size[size == 0] = np.inf  # a set that never differs
    largest = np.abs(_flips(len(units)) @ (signed / size)).max(1)
    own = np.abs((signed / size).sum(0))
    return np.array([float((largest >= each - 1e-9).mean()) for each in own])


def _ranks(sizes: Array) -> Array:
    """Return ranks of sizes above 0, ties alike; 0 where nothing differs."""
    from scipy.stats import rankdata

    found = np.zeros(len(sizes))
    found[sizes > 0] = rankdata(sizes[sizes > 0])
    return found


def _flips(tasks: int) -> Array:
    """Return all signs of tasks, or as many as can be looked at, the unflipped ones among them."""
    if 2**tasks <= MOST_FLIPS:
        return np.array(list(product((1.0, -1.0), repeat=tasks)))
    drawn = np.random.default_rng(0).choice((1.0, -1.0), size=(MOST_FLIPS, tasks))
    drawn[0] = 1
    return drawn


def intervals(sampled: Sampled) -> tuple[Array, Array]:
    """Return the ends of each column's interval over tasks and seeds."""
    draw = np.random.default_rng(0)
    drawn = np.stack([_redrawn(cases, draw) for cases in sampled.values()])
    chosen = draw.integers(0, len(drawn), size=(DRAWS, len(drawn)))
    means = drawn[chosen, np.arange(DRAWS)[:, None]].mean(1)
    columns = {column.tobytes() for column in means.T if column.any()}
    tail = LEVEL / 2 / max(1, len(columns))
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def _redrawn(cases: Sequence[Array], draw: np.random.Generator) -> Array:
    """Return a task's means with seeds drawn again: draws x sets."""
    each = []
    for case in cases:
        chosen = draw.integers(0, len(case), size=(DRAWS, len(case)))
        each.append(case[chosen].mean(1))
    return np.mean(each, axis=0)


def _of_task(cases: Sequence[Array]) -> Array:
    """Return the mean over a task's cases of the mean over seeds."""
    return np.mean([case.mean(0) for case in cases], axis=0)


def spread(cases: Iterable[Array]) -> float | None:
    """Return the standard deviation over seeds within cases and sets; None for single seeds."""
    variances = [case.var(axis=0, ddof=1) for case in cases if len(case) > 1]
    found = float(np.sqrt(np.mean(np.concatenate(variances)))) if variances else 0.0
    return found or None


def verdict(found: Sequence[Effect], reference: str) -> str:
    """Return which set of rules the numbers speak for: another only where the test shows it."""
    winners = [each for each in found if each.shown and each.mean < 0]
    if winners:
        best = min(winners, key=lambda each: each.mean)
        return (
            f"{best.rules} is better than {reference}: loss {percent(best)}, p {best.p:.3f}, lower "
            f"on {best.better} of {best.better + best.worse} tasks"
        )
    return "; ".join([f"no set is shown to be better than {reference}", *_others(found, reference)])


def _others(found: Sequence[Effect], reference: str) -> Iterator[str]:
    """Yield which sets are shown to be worse, and which as good."""
    worse = [each.rules for each in found if each.shown]
    rest = (each for each in found if not each.shown and each.rules != reference)
    good = [each.rules for each in rest if each.high < MARGIN]
    if worse:
        yield f"shown to be worse: {', '.join(worse)}"
    if good:
        yield f"shown to be at most {100 * math.expm1(MARGIN):.0f} % worse: {', '.join(good)}"


def percent(effect: Effect) -> str:
    """Write a difference of log losses and its interval as a change of the loss."""
    mean, low, high = (100 * math.expm1(v) for v in (effect.mean, effect.low, effect.high))
    return f"{mean:+.1f} % ({low:+.1f} to {high:+.1f})"
