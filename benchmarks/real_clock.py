"""Set ``autotune search`` beside Optuna and random search on a real clock.

Every method gets the same task, minutes and two processes of the same machine, one after another,
in an order that turns from repetition to repetition. The minutes hold everything: starting,
loading, deciding, and our own judging. Then the winners of a repetition (Optuna's best complete run
and what we recommend) are trained in full on the same fresh seeds, outside the minutes.

Nothing else may run meanwhile. Each result is appended to a file as it comes: after an interrupt
the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from real_clock_results import OURS, Case, Log, Record, lines, shown, totals

import autotune
from autotune import optimizers
from autotune.bench import machine
from autotune.cli.views import json as views
from autotune.errors import NothingUsable
from autotune.seeds import derive
from autotune.space.presets import presets_of
from autotune.space.spaces import build
from autotune.studies.setting import Setting
from autotune.tasks.constant import LOSS
from autotune.tasks.resolve import resolve
from autotune.training.process import start_worker
from autotune.training.side_by_side import Member, loss_curves

TASKS = ("mlp", "resnet-mini", "gpt-nano", "gpt-pico", "resnet50")
OPTIMIZERS = ("adan", "adamw")
OUT = Path(__file__).parent / "results" / "real_clock.jsonl"
SCRIPT = Path(__file__).parent / "optuna_script.py"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One repetition of one method; ``rep`` is also the seed of its search."""

    case: Case
    rep: int
    method: str

    @property
    def key(self) -> dict[str, Any]:
        """Return what its records begin with."""
        return {**asdict(self.case), "rep": self.rep, "method": self.method}


def ours(turn: Turn, folder: Path) -> dict[str, Any]:
    """Search by the command, and take what it recommends; the default where it judged nothing."""
    storage = f"sqlite:///{folder}/ours.db"
    command = ["-P", "-m", "autotune", "search", "--model", turn.case.task, "--search", "ours"]
    command += ["--optimizer", turn.case.optimizer, "--minutes", f"{turn.case.minutes:g}"]
    command += ["--seed", str(turn.rep), "--storage", storage, "--progress", "off"]
    _, seconds = _called(command, folder, NothingUsable.exit_code)
    result = autotune.load("ours", storage=storage)
    try:
        tuned = result.tuned(turn.case.optimizer)
    except NothingUsable as error:
        found = {**_default(turn.case.optimizer), "note": str(error)}
    else:
        found = {"hyper": tuned.hyper, "warmup": tuned.warmup}
    facts, trials = result.comparison.search.task, result.rows[0].trials
    return {**found, "seconds": seconds, "trials": trials, "facts": facts}


def optuna(turn: Turn, folder: Path) -> dict[str, Any]:
    """Run the script; it takes the default where no run reached its end."""
    method = turn.method.removeprefix("optuna-")
    command = [str(SCRIPT), method, "--model", turn.case.task, "--seed", str(turn.rep)]
    command += ["--optimizer", turn.case.optimizer, "--minutes", f"{turn.case.minutes:g}"]
    said, seconds = _called([*command, "--storage", f"sqlite:///{folder}/optuna.db"], folder)
    found = {**json.loads(said.splitlines()[-1]), "seconds": seconds}
    return found if found["whole"] else {**found, "note": "no run reached its end"}


METHODS: Mapping[str, Callable[[Turn, Path], dict[str, Any]]] = {
    OURS: ours,
    "optuna-median": optuna,
    "optuna-hyperband": optuna,
    "random": optuna,
}


def _called(arguments: Sequence[str], folder: Path, *allowed: int) -> tuple[str, float]:
    """Return what a command wrote, and the seconds that it took."""
    command, began = [sys.executable, *arguments], time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in {0, *allowed}:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout, round(time.monotonic() - began, 1)


def _default(optimizer: str) -> dict[str, Any]:
    space = build(optimizers.space(optimizer), optimizers.defaults(optimizer), {})
    setting = presets_of(optimizer, space)[0].setting
    return {"hyper": setting.hyper, "warmup": setting.warmup}


def search(turn: Turn) -> dict[str, Any]:
    """Return what a method found, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        return METHODS[turn.method](turn, Path(folder))


def train(winner: Record, seeds: Sequence[int]) -> Iterator[float]:
    """Yield the losses of full runs of a winner, two at a time."""
    # Spawned: a forked process would inherit the threads of this one.
    with ProcessPoolExecutor(2, get_context("spawn"), start_worker) as pool:
        yield from pool.map(final, [winner] * len(seeds), seeds)


def run(
    log: Log,
    turns: Iterable[Turn],
    judges: int,
    search: Callable[[Turn], Record] = search,
    train: Callable[[Record, Sequence[int]], Iterable[float]] = train,
) -> None:
    """Search and judge what is not in the log yet."""
    for turn in turns:
        if not log.of("found", **turn.key):
            log.add("found", **turn.key, **search(turn))
        over = {each["index"] for each in log.of("judged", **turn.key)}
        asked = [index for index in range(judges) if index not in over]
        if asked:
            constant = constant_loss(turn.case.task)
            seeds = [derive("real clock", turn.rep, index) for index in asked]
            winner = log.of("found", **turn.key)[0]
            for index, loss in zip(asked, train(winner, seeds), strict=True):
                log.add("judged", **turn.key, index=index, loss=loss, constant=constant)


@cache
def constant_loss(task: str) -> float:
    """Return the loss of one constant answer."""
    return float(resolve(task).facts()[LOSS])


def final(winner: Record, seed: int) -> float:
    """Return the validation loss at the end of a full run; infinite if it diverged."""
    task = resolve(winner["task"])
    hyper = {k: tuple(v) if isinstance(v, list) else v for k, v in winner["hyper"].items()}
    setting = Setting(params={}, hyper=hyper, warmup=winner["warmup"])
    member = Member(setting=setting, seed=seed)
    return float(loss_curves(task, winner["optimizer"], [member], (task.steps,))[0, 0])


def turns_of(given: argparse.Namespace) -> Iterator[Turn]:
    """Yield all turns: the shortest first, and a whole repetition before the next."""
    cases = [
        Case(minutes=minutes, task=task, optimizer=optimizer)
        for minutes, task, optimizer in product(
            sorted(given.minutes), given.tasks, given.optimizers
        )
    ]
    for minutes, rep in product(sorted(given.minutes), range(given.reps)):
        for case in (each for each in cases if each.minutes == minutes):
            first = rep % len(given.methods)
            for method in given.methods[first:] + given.methods[:first]:
                yield Turn(case=case, rep=rep, method=method)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--minutes", nargs="+", type=float, default=[3.0])
    parser.add_argument("--reps", type=int, default=5, help="repetitions, each with its own seed")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--judges", type=int, default=5, help="fresh seeds to judge winners on")
    parser.add_argument("--out", type=Path, default=OUT, help="results; those there are kept")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser.parse_args()


def same_machine(log: Log) -> None:
    """Refuse to mix results of machines or commits, whose speeds differ."""
    here = machine.facts("cpu")
    if not log.of("machine"):
        log.add("machine", **here)
    for there in log.of("machine"):
        for name in ("device", "cores", "commit"):
            if there[name] != here[name]:
                raise SystemExit(
                    f"{log.path} was begun on {name} {there[name]}, here is {here[name]}; "
                    "give another file as --out"
                )


def main() -> None:
    """Run what is missing, and print the tables."""
    given = _arguments()
    log = Log(given.out)
    same_machine(log)
    turns = list(turns_of(given))
    run(log, turns, given.judges)
    cases = sorted({turn.case for turn in turns})
    found, over_all = [line for case in cases for line in lines(log, case)], totals(log, cases)
    written = shown(found, over_all)
    if given.json:
        written = views.document(machine=log.of("machine")[0], lines=found, overall=over_all)
    sys.stdout.write(f"{written}\n")


if __name__ == "__main__":
    main()
