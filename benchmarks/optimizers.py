"""Compare eight optimizers on eight built-in tasks, each with the same budget, and print a table.

Every search gives each optimizer the same full runs, in one process, and judges the tuned settings
on the same fresh seeds; nothing in it depends on how fast the machine is. An interrupted run of
this file goes on where it was. ``--report`` only prints the table of what is stored.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import autotune
from autotune.errors import AutotuneError
from autotune.results.comparison import Comparison, Row
from autotune.results.figures import signed, together
from autotune.results.intervals import Estimate

TASKS = (
    "mlp",
    "gpt-pico",
    "resnet-mini",
    "gpt-nano",
    "vit-mini",
    "convnext-mini",
    "mae-mini",
    "bert-mini",
)
OPTIMIZERS = ("adan", "adamw-win2", "adamw", "nadamw", "lion", "ademamix", "adamw-sf", "muon")
REFERENCE = "adamw"
RUNS = 20.0  # full runs for each optimizer, judging included
SEEDS = 4  # to judge on


def search(task: str, storage: str, runs: float) -> None:
    """Run a task's search, or go on with it."""
    autotune.tune(
        task, optimizers=OPTIMIZERS, runs=runs, seeds=SEEDS, workers=1, name=task, storage=storage
    )


def stored(storage: str) -> Iterator[tuple[str, Comparison]]:
    """Yield the tasks whose search is complete, with what was found."""
    for task in TASKS:
        try:
            result = autotune.load(task, storage=storage)
        except AutotuneError:  # not begun
            continue
        if result.complete:
            yield task, result.comparison


def table(found: Sequence[tuple[str, Comparison]]) -> str:
    """Return a row for each optimizer and a column for each task, in Markdown.

    The reference has its mean loss; the others have how far theirs lies from it, with an interval.
    """
    head = ["optimizer", *(f"`{task}`" for task, _ in found), "better, worse, undecided"]
    rows = [head, ["---"] * len(head), *(_line(name, found) for name in _ordered(found))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _ordered(found: Sequence[tuple[str, Comparison]]) -> list[str]:
    """Return the names, those with the lowest mean rank over the tasks first."""

    def rank(name: str) -> float:
        places = [[row.optimizer for row in one.rows].index(name) for _, one in found]
        return sum(places) / len(places)

    return sorted(OPTIMIZERS, key=rank)


def _line(name: str, found: Sequence[tuple[str, Comparison]]) -> list[str]:
    rows = [next(row for row in one.rows if row.optimizer == name) for _, one in found]
    signs = [_sign(row) for row in rows]
    score = ", ".join(str(signs.count(sign)) for sign in (-1, 1, 0))
    if name == REFERENCE:
        return [f"`{name}`", *(_mean(row.tuned.loss) for row in rows), ""]
    return [f"`{name}`", *(_difference(row) for row in rows), score]


def _mean(loss: Estimate | None) -> str:
    return "no loss" if loss is None else f"{loss.mean:.4g}"


def _sign(row: Row) -> int:
    """Return -1 where the whole interval lies below the reference, 1 where above, else 0."""
    found = row.against_reference
    if found is None or found.low is None or found.high is None:
        return 0
    return -1 if found.high < 0 else 1 if found.low > 0 else 0


def _difference(row: Row) -> str:
    found = row.against_reference
    if found is None or found.low is None or found.high is None:
        return "not compared"
    mean, low, high = map(signed, together(found.mean, found.low, found.high))
    mark = "**" if found.high < 0 else ""
    return f"{mark}{mean}{mark} ({low} to {high})"


def main() -> None:
    """Run the searches of all tasks, or of those that are named, and print what is complete."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="default: all eight")
    parser.add_argument("--storage", default="optimizers.db", help="database file or URL")
    parser.add_argument("--runs", type=float, default=RUNS, help="full runs of each optimizer")
    parser.add_argument("--report", action="store_true", help="print the table and run nothing")
    given = parser.parse_args()
    if unknown := set(given.tasks) - set(TASKS):
        parser.error(f"a task is one of {', '.join(TASKS)}, got {', '.join(sorted(unknown))}")
    for task in () if given.report else given.tasks or TASKS:
        search(task, given.storage, given.runs)
    found = list(stored(given.storage))
    if not found:
        sys.exit(f"no search of {given.storage} is complete; run it without --report")
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
