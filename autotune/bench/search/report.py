"""The report of a search benchmark, as tables and sentences: losses as clearly as wins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune.bench.search import compare
from autotune.bench.search.compare import Ratio, Spread, Verdict
from autotune.bench.search.repeat import Protocol, Record

SUBJECT = "ours"  # the others are compared with it, if it was run
YARDSTICK = "random"
MARKS = {Verdict.BETTER: "+", Verdict.WORSE: "-", Verdict.UNDECIDED: " "}
SENTENCES = {
    Verdict.BETTER: "is better than",
    Verdict.WORSE: "is worse than",
    Verdict.UNDECIDED: "cannot be told from",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of a benchmark."""

    records: Sequence[Record]
    protocol: Protocol
    complete: bool

    @property
    def subject(self) -> str:
        """Return the method that the others are compared with."""
        names = list(self.records[0].regrets)
        return SUBJECT if SUBJECT in names else names[0]

    @property
    def others(self) -> list[str]:
        """Return the other methods."""
        return [name for name in self.records[0].regrets if name != self.subject]

    @property
    def reps(self) -> int:
        """Return the number of repetitions."""
        return len(next(iter(self.records[0].regrets.values())))

    def ratios(self) -> dict[str, list[Ratio | None]]:
        """Return the subject's ratios to each other method, over all tables."""
        return {name: compare.ratios(self.records, self.subject, name) for name in self.others}

    def as_data(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "protocol": self.protocol,
            "repetitions": self.reps,
            "complete": self.complete,
            "checkpoints": self.protocol.checkpoints,
            "subject": self.subject,
            "tables": [_table_data(record, self.subject, self.others) for record in self.records],
            "ratios": _ratio_data(self.ratios()),
            "ranks": compare.ranks(self.records),
            "conclusions": list(conclusions(self)),
        }


def _table_data(record: Record, subject: str, others: Sequence[str]) -> dict[str, Any]:
    return {
        "table": record.table,
        "optimizer": record.optimizer,
        "settings": record.settings,
        "seeds": {"seen": record.seen, "held_out": record.held},
        "best_on_one_seed": list(record.floors),
        "medians": {name: compare.spreads(rows) for name, rows in record.regrets.items()},
        "ratios": _ratio_data({n: compare.ratios([record], subject, n) for n in others}),
        "regrets": {name: rows.tolist() for name, rows in record.regrets.items()},
        "spent": {name: rows.tolist() for name, rows in record.spent.items()},
        "took": {name: rows.tolist() for name, rows in record.took.items()},
    }


def _ratio_data(found: dict[str, list[Ratio | None]]) -> dict[str, list[dict[str, Any] | None]]:
    return {
        name: [None if r is None else {**vars(r), "verdict": r.verdict} for r in ratios]
        for name, ratios in found.items()
    }


def header(record: Record, report: Report) -> str:
    """Return what was measured."""
    workers = report.protocol.workers
    return (
        f"{record.table}: {record.settings:,} settings of {record.optimizer}, {record.seen} seeds "
        f"to search on and {record.held} to judge on; {report.reps} repetitions, "
        f"{report.protocol.runs:g} full runs, {workers} worker{'s' if workers > 1 else ''}"
    )


def floor(record: Record) -> str:
    """Return the regret that the seeds alone cause: a smaller one is partly luck."""
    low, high = min(record.floors), max(record.floors)
    size = f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"
    return f"whoever knew all full runs on one of the seen seeds would have a regret of {size}"


def medians(record: Record, checkpoints: Sequence[float]) -> list[list[str]]:
    """Return the rows of a table's medians."""
    rows = [["median regret after", *(f"{runs:g}" for runs in checkpoints), "spent", "time"]]
    for name, regrets in record.regrets.items():
        cells = [_spread(spread) for spread in compare.spreads(regrets)]
        costs = [f"{np.mean(record.spent[name]):.1f}", f"{np.mean(record.took[name]):.1f}"]
        rows.append([name, *cells, *costs])
    return rows


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{spread.median:.3f} {spread.low:.3f}-{spread.high:.3f}"


def compared(report: Report, records: Sequence[Record]) -> list[list[str]]:
    """Return the rows of the subject's ratios to the others."""
    checkpoints = [f"{runs:g}" for runs in report.protocol.checkpoints]
    rows = [[f"regret of {report.subject} over", *checkpoints]]
    for name in report.others:
        found = compare.ratios(records, report.subject, name)
        rows.append([f"that of {name}", *(_ratio(ratio) for ratio in found)])
    return rows


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio.ratio:.2f} {ratio.low:.2f}-{ratio.high:.2f} {MARKS[ratio.verdict]}"


def ranked(report: Report) -> list[list[str]]:
    """Return the rows of mean ranks."""
    rows = [["mean rank after", *(f"{runs:g}" for runs in report.protocol.checkpoints)]]
    for name, means in compare.ranks(report.records).items():
        rows.append([name, *("-" if mean is None else f"{mean:.1f}" for mean in means)])
    return rows


def conclusions(report: Report) -> Iterator[str]:
    """Yield one sentence per other method: which is better at which budget."""
    checkpoints = report.protocol.checkpoints
    for name, found in report.ratios().items():
        parts = []
        for verdict, runs in compare.verdicts(found, checkpoints).items():
            numbers = [r for r in found if r and r.verdict is verdict]
            parts.append(f"{SENTENCES[verdict]} {name} at {runs} full runs ({_range(numbers)})")
        if parts:
            yield f"{report.subject} " + "; ".join(parts)
    if YARDSTICK in report.others:
        first = compare.reached(report.records, report.subject, YARDSTICK, checkpoints)
        end = f"{YARDSTICK} after {checkpoints[-1]:g} full runs"
        yield (
            f"{report.subject} is at no budget as good as {end}"
            if math.isinf(first)
            else f"{report.subject} is after {first:g} full runs as good as {end}"
        )


def _range(ratios: Sequence[Ratio]) -> str:
    """Return the range of ratios and the largest p-value."""
    ends = sorted({f"{end(r.ratio for r in ratios):.2f}" for end in (min, max)}, key=float)
    size = " to ".join(ends)
    return f"{size} times its regret, p <= {max(r.p for r in ratios):.1g}"
