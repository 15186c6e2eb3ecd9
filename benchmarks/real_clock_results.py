"""What ``real_clock.py`` recorded, and what that says: losses by repetition, paired differences."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from autotune.cli.views import json as views
from autotune.cli.views.table import table
from autotune.results.figures import signed, together
from autotune.results.intervals import Estimate, estimate, paired

OURS = "autotune"

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, order=True)
class Case:
    """What a method is given."""

    minutes: float
    task: str
    optimizer: str

    def __str__(self) -> str:
        return f"{self.task}, {self.optimizer}, {self.minutes:g} minutes"


class Log:
    """Records in a file, a line each; a line that was cut short when the script died is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        whole, newline, _ = path.read_text().rpartition("\n") if path.exists() else ("", "", "")
        path.write_text(whole + newline)
        self.records: list[Record] = [json.loads(line) for line in whole.splitlines()]

    def add(self, kind: str, **content: Any) -> None:
        """Append a record."""
        line = views.line(kind=kind, **content)
        with self.path.open("a") as file:
            file.write(f"{line}\n")
        self.records.append(json.loads(line))

    def of(self, kind: str, **key: Any) -> list[Record]:
        """Return the records of a kind that hold all of ``key``."""
        return [
            each
            for each in self.records
            if each["kind"] == kind and all(each.get(name) == key[name] for name in key)
        ]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A method in a case.

    Args:
        loss: Mean over the repetitions of the winner's mean loss on fresh seeds.
        seconds: Mean that a search took.
        trials: Mean settings tried.
        difference: Ours - it, paired by repetition; None for ours.
        better: Repetitions in which ours has the lower loss.
        reps: Repetitions that both have.
    """

    case: Case
    method: str
    loss: Estimate
    seconds: float
    trials: float
    difference: Estimate | None = None
    better: int = 0
    reps: int = 0


@dataclass(frozen=True, kw_only=True)
class Overall:
    """Ours against a method over all tasks, each of which counts alike.

    Args:
        ratio: Mean of log(our loss / its loss) over tasks; its interval is over tasks, not
            repetitions, since it is to hold for others.
        better: Tasks on which the mean of ours is lower.
        shown: Tasks on which an interval over repetitions excludes 0: in favour of ours, against.
    """

    minutes: float
    method: str
    ratio: Estimate
    better: int
    shown: tuple[int, int]


def methods(log: Log) -> list[str]:
    """Return what was run, ours first."""
    found = {each["method"] for each in log.of("found")}
    return sorted(found, key=lambda name: (name != OURS, name))


def losses(log: Log, case: Case, method: str) -> dict[int, float]:
    """Return by repetition the mean loss over judging seeds.

    A run that diverged, or ended above the loss of a constant answer, counts as that answer: how
    much worse it is says nothing, and an infinite mean would hide all others.
    """
    found: dict[int, list[float]] = {}
    for each in log.of("judged", **asdict(case), method=method):
        loss = math.inf if each["loss"] is None else each["loss"]
        found.setdefault(each["rep"], []).append(min(loss, each["constant"]))
    most = max(map(len, found.values()), default=0)
    return {rep: fmean(each) for rep, each in sorted(found.items()) if len(each) == most}


def lines(log: Log, case: Case) -> list[Line]:
    """Return what each method reached in a case."""
    reached = {method: losses(log, case, method) for method in methods(log)}
    return [_line(log, case, method, reached) for method in reached if reached[method]]


def _line(log: Log, case: Case, method: str, reached: Mapping[str, Mapping[int, float]]) -> Line:
    theirs, mine = reached[method], reached.get(OURS, {})
    found = log.of("found", **asdict(case), method=method)
    both = [] if method == OURS else sorted(set(mine) & set(theirs))
    return Line(
        case=case,
        method=method,
        loss=estimate(list(theirs.values())),
        seconds=fmean(each["seconds"] for each in found),
        trials=fmean(each["trials"] for each in found),
        difference=paired(mine, theirs) if both else None,
        better=sum(mine[rep] < theirs[rep] for rep in both),
        reps=len(both),
    )


def totals(log: Log, cases: Sequence[Case]) -> list[Overall]:
    """Compare ours with each method, for each number of minutes."""
    minutes = sorted({case.minutes for case in cases})
    pairs = product(minutes, (method for method in methods(log) if method != OURS))
    each = (overall(log, [c for c in cases if c.minutes == m], method) for m, method in pairs)
    return [total for total in each if total]


def overall(log: Log, cases: Sequence[Case], method: str) -> Overall | None:
    """Compare ours with a method over the tasks of cases of equal minutes; None without any."""
    ratios: dict[str, list[float]] = {}
    differences: dict[str, list[Estimate]] = {}
    for case in cases:
        mine, theirs = losses(log, case, OURS), losses(log, case, method)
        both = sorted(set(mine) & set(theirs))
        if difference := paired(mine, theirs):
            differences.setdefault(case.task, []).append(difference)
            ratios.setdefault(case.task, []).append(
                fmean(math.log(mine[rep] / theirs[rep]) for rep in both)
            )
    means = [fmean(each) for each in ratios.values()]
    if not means:
        return None
    shown = [
        sum(any(_sign(each) == sign for each in those) for those in differences.values())
        for sign in (-1, 1)
    ]
    return Overall(
        minutes=cases[0].minutes,
        method=method,
        ratio=estimate(means),
        better=sum(mean < 0 for mean in means),
        shown=(shown[0], shown[1]),
    )


def _sign(difference: Estimate) -> int:
    """Return -1 or 1 where the interval lies on one side of 0, else 0."""
    if difference.low is None or difference.high is None:
        return 0
    return (difference.low > 0) - (difference.high < 0)


def shown(found: Sequence[Line], over_all: Sequence[Overall]) -> str:
    """Write the tables."""
    parts = []
    for case in dict.fromkeys(line.case for line in found):
        those = [line for line in found if line.case == case]
        header = ("method", "reps", "loss", "seconds", "settings", f"{OURS} - it", "lower in")
        parts.append(f"{case}\n{table([header, *map(_cells, those)])}")
    parts += [_sentence(total) for total in over_all]
    return "\n\n".join(parts)


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.method,
        str(line.loss.n),
        str(line.loss).removesuffix(f" (n={line.loss.n})"),
        f"{line.seconds:.0f} of {60 * line.case.minutes:.0f}",
        f"{line.trials:.0f}",
        _interval(line.difference) if line.difference else "",
        f"{line.better} of {line.reps}" if line.reps else "",
    )


def _interval(difference: Estimate) -> str:
    if difference.low is None or difference.high is None:
        return signed(together(difference.mean)[0])
    written = together(difference.mean, difference.low, difference.high)
    mean, low, high = map(signed, written)
    return f"{mean} ({low} to {high})"


def _sentence(total: Overall) -> str:
    ratio, (won, lost) = total.ratio, total.shown
    percent = [
        signed(f"{100 * math.expm1(each):.1f}")
        for each in (ratio.mean, ratio.low, ratio.high)
        if each is not None
    ]
    interval = f" ({percent[1]} to {percent[2]})" if len(percent) == 3 else ""
    return (
        f"{total.minutes:g} minutes, {OURS} against {total.method}: loss {percent[0]} %{interval} "
        f"over {ratio.n} task{'s' * (ratio.n > 1)}; lower on {total.better}; shown by an interval "
        f"on {won} better, on {lost} worse"
    )
