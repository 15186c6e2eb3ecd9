"""How much more two workers finish than one: python benchmarks/speedup.py [URL].

Each measurement begins a search that cannot end in time, lets ``autotune worker`` processes join
it, and counts what they finish in a window that opens once all of them have finished something.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import func, select

from autotune.bench.machine import facts
from autotune.search.opening import open_search
from autotune.studies.models import Attempt, CurvePoint
from autotune.studies.spec import SearchSpec, parse
from autotune.studies.store import Store

NAME = "speedup"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What was finished in a minute."""

    stretches: float  # of trials, each from one rung to another
    steps: float

    def __str__(self) -> str:
        return f"{self.stretches:.1f} and {self.steps:.0f}"


def spec_of(model: str, steps: int) -> SearchSpec:
    """Return a search that nobody ends: its trials are many, and quick to draw."""
    budget = {"trials": 100_000}
    return parse(
        {
            "model": model, "name": NAME, "optimizers": ["adan", "adamw"], "budget": budget,
            "steps": steps, "sampler": "sobol",
        }
    )  # fmt: skip


def pace(url: str, spec: SearchSpec, workers: int, seconds: float) -> Pace:
    """Measure so many workers for so many seconds."""
    with Store(url) as store:
        open_search(spec, store)
        command = [sys.executable, "-P", "-m", "autotune", "worker", "--search", NAME]
        command += ["--storage", url, "--progress", "off"]
        processes = [subprocess.Popen(command) for _ in range(workers)]
        try:
            while len(_finished(store)) < workers:
                time.sleep(0.1)
            began, before, steps = time.monotonic(), _finished(store).total(), _steps(store)
            time.sleep(seconds)
            took = (time.monotonic() - began) / 60
            done = _finished(store).total() - before
            return Pace(stretches=done / took, steps=(_steps(store) - steps) / took)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
            store.delete_search(NAME)


def _finished(store: Store) -> Counter[str]:
    """Return how many stretches each worker finished."""
    query = select(Attempt.worker, func.count()).where(Attempt.ended.is_not(None))
    with store.reading() as connection:
        rows = connection.execute(query.group_by(Attempt.worker)).all()
    return Counter({row[0]: row[1] for row in rows})


def _steps(store: Store) -> int:
    """Return the steps whose losses are stored."""
    last = select(func.max(CurvePoint.step).label("step")).group_by(CurvePoint.trial_id).subquery()
    with store.reading() as connection:
        return connection.scalar(select(func.sum(last.c.step))) or 0


def main() -> None:
    """Print the pace of one worker and of more, by turns, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="a database of its own; a new file if left out")
    parser.add_argument("--model", default="gpt-nano")
    parser.add_argument("--steps", type=int, default=81, help="of a full run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    spec, about = spec_of(given.model, given.steps), facts("cpu")
    print(f"{about['device']}, {about['date']}, commit {about['commit']}")  # noqa: T201  the result
    print(f"command: python benchmarks/speedup.py {' '.join(sys.argv[1:])}")  # noqa: T201  likewise
    with tempfile.TemporaryDirectory() as folder:
        url = given.url or f"sqlite:///{folder}/speedup.db"
        for number in range(given.rounds):
            one, more = (pace(url, spec, n, given.seconds) for n in (1, given.workers))
            times = f"{more.stretches / one.stretches:.2f} and {more.steps / one.steps:.2f} times"
            print(  # noqa: T201  likewise
                f"round {number + 1}: trials and steps a minute: {one} by 1 worker, "
                f"{more} by {given.workers}: {times}",
                flush=True,
            )


if __name__ == "__main__":
    main()
