"""Which rules carry a tuned setting over to longer runs and larger batches?

For each task a search (``autotune.tune``) finds settings in short runs. Each set of rules restates
them, and the default beside them, for runs of 3 and 10 times the steps and 4 times the batch, and
all are trained on the same fresh seeds; no set leaves early. At some targets a grid around the
tuned setting says about what tuning there would have given.

Every run is appended to a file as it ends: the same command goes on where it stopped, for as many
``--minutes`` as it is given. Seeds come in order, and within a seed all tasks and sets, so that it
may be stopped at any time. Settings that two sets agree on are run once. ``--report`` writes what
was found as Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import transfer_report
from real_clock_results import Log, Record
from transfer_results import Case, Runs
from transfer_runs import losses
from transfer_tasks import OPTIMIZERS, SMALL, STEPS, model, task

import autotune
from autotune.bench import machine
from autotune.seeds import derive
from autotune.studies.setting import Setting
from autotune.tasks.constant import LOSS
from autotune.training.process import start_worker
from autotune.transfer.base import Route
from autotune.transfer.carry import carry

OUT = Path(__file__).parent / "results" / "transfer"
REFERENCE = "batch+timescale+warmup-share"  # of the literature, the default when this was begun
SETS = (
    "none", "batch", "timescale", "betas-samples", "betas-share", "lr-steps", "warmup-steps",
    "batch+betas-samples", "timescale+betas-share", REFERENCE, f"{REFERENCE}+betas-samples",
    f"{REFERENCE}+betas-share", f"{REFERENCE}+lr-steps",
)  # fmt: skip
# Times the steps and the batch, and after how many seeds of the first its own first seed comes.
TARGETS = {(1, 1): 0, (3, 1): 0, (1, 4): 0, (10, 1): 2, (3, 4): 1, (10, 4): 3}
# Where the default is carried by every set; elsewhere by none and by the reference.
DEFAULTS = ((1, 1), (3, 1), (1, 4))
GRIDS = ((3, 1), (1, 4))  # targets that can be tuned at as well
GRID_SEEDS = 1
GRID_AFTER = 2  # seeds
RATES = tuple(2.0**power for power in range(-4, 3))  # times the tuned lr
DECAYS = (0.2, 1.0)  # times its weight decay
TRIALS, JUDGES = 24, 2  # settings of a search, and seeds on which it judges


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Runs of one case on one seed; without a seed, the grid at its target."""

    case: Case
    seed: int | None

    @property
    def place(self) -> tuple[float, int]:
        """Return when it comes: a grid after some seeds of its target."""
        target = (self.case.steps, self.case.batch)
        late = GRID_AFTER - 0.5 if self.seed is None else self.seed + TARGETS[target]
        return late, list(TARGETS).index(target)

    def __str__(self) -> str:
        """Say what is trained."""
        what = "grid" if self.seed is None else f"seed {self.seed}"
        return (
            f"{what}, {self.case.steps}x steps, {self.case.batch}x batch: "
            f"{self.case.task}, {self.case.optimizer}"
        )


class Study:
    """What was found and run so far, and how to go on."""

    def __init__(self, folder: Path) -> None:
        self.log, self.runs = Log(folder / "settings.jsonl"), Runs(folder / "runs.csv")

    def work(self, unit: Unit) -> int:
        """Run what is missing of a unit; return how many runs that was."""
        if unit.seed is not None:
            return self._train(unit.case, unit.seed)
        if self.log.of("grid", **asdict(unit.case)):
            return 0
        count = self._grid(unit.case)
        # What the grid found catches up with the other settings.
        return count + sum(self._train(unit.case, seed) for seed in range(GRID_AFTER))

    def _train(self, case: Case, seed: int) -> int:
        missing = {
            hashed(setting): (which, rules, setting)
            for (which, rules), setting in reversed(contenders(case, self.found(case)).items())
            if not self.runs.of(case, hashed(setting)).keys() & {seed}
        }
        if not missing:
            return 0
        settings = [setting for *_, setting in missing.values()]
        own = task(case.task, case.steps, case.batch)
        ended = losses(own, case.optimizer, settings, derive("transfer", seed))
        for (key, (which, rules, _)), loss in zip(missing.items(), ended, strict=True):
            self.runs.add(case, seed, (which, rules, key), loss)
        return len(missing)

    def found(self, case: Case) -> Mapping[str, Setting]:
        """Return the settings of a case by name, after a search where there was none yet."""
        own = {"task": case.task, "optimizer": case.optimizer}
        if not self.log.of("found", **own):
            for record in searched(case.task):
                self.log.add("found", **record)
        [record] = self.log.of("found", **own)
        settings = {which: setting_of(record[which]) for which in ("tuned", "default")}
        for grid in self.log.of("grid", **asdict(case)):
            settings["target"] = setting_of(grid["best"])
        return settings

    def _grid(self, case: Case) -> int:
        """Tune a case at its target: lr and weight decay about what was found in short runs."""
        base, own = self.found(case)["tuned"], task(case.task, case.steps, case.batch)
        grid = list(product(RATES, DECAYS))
        settings = [_scaled(base, rate, decay) for rate, decay in grid]
        laps = [
            losses(own, case.optimizer, settings, derive("transfer grid", lap))
            for lap in range(GRID_SEEDS)
        ]
        means = [fmean(each) for each in zip(*laps, strict=True)]
        best = min(range(len(grid)), key=means.__getitem__)
        rate, decay = grid[best]
        self.log.add(
            "grid", **asdict(case), rate=rate, decay=decay, loss=means[best],
            best=plain(settings[best]),
        )  # fmt: skip
        return len(grid) * GRID_SEEDS


def searched(name: str) -> Iterator[dict[str, Any]]:
    """Search a task in short runs, and yield what was found for each optimizer."""
    sizes = {"batch_size": SMALL[name]} if name in SMALL else {}
    constant = float(task(name).facts()[LOSS])
    with tempfile.TemporaryDirectory() as folder:
        result = autotune.tune(
            model(name), name=name, optimizers=OPTIMIZERS[name], trials=TRIALS, steps=STEPS,
            seeds=JUDGES, engine="inline", storage=f"{folder}/autotune.db", progress="off", **sizes,
        )  # fmt: skip
        for row in result.rows:
            yield {
                "task": name,
                "optimizer": row.optimizer,
                "tuned": plain(row.tuned.setting),
                "default": plain(row.default.setting),
                "origin": row.tuned.origin,
                "runs": row.runs,
                "constant": constant,
            }


def contenders(case: Case, found: Mapping[str, Setting]) -> dict[tuple[str, str], Setting]:
    """Return the setting that each set of rules makes of the tuned and of the default one."""
    way = Route(batch=(1, case.batch), steps=(1, case.steps))
    whole = (case.steps, case.batch) in DEFAULTS
    made = {
        (which, rules): carry(case.optimizer, found[which], way, [rules]).setting
        for which, rules in product(("tuned", "default"), SETS)
        if which == "tuned" or whole or rules in ("none", REFERENCE)
    }
    return made | ({("target", "none"): found["target"]} if "target" in found else {})


def hashed(setting: Setting) -> str:
    """Return what a setting is known by: equal ones train alike."""
    text = json.dumps(plain(setting), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def plain(setting: Setting) -> dict[str, Any]:
    """Return a setting as JSON values."""
    return {"hyper": dict(setting.hyper), "warmup": setting.warmup}


def setting_of(record: Record) -> Setting:
    """Return a setting of JSON values."""
    hyper = {k: tuple(v) if isinstance(v, list) else v for k, v in record["hyper"].items()}
    return Setting(params={}, hyper=hyper, warmup=record["warmup"])


def _scaled(setting: Setting, rate: float, decay: float) -> Setting:
    lr, weight_decay = setting.hyper["lr"] * rate, setting.hyper["weight_decay"] * decay
    return replace(setting, hyper={**setting.hyper, "lr": lr, "weight_decay": weight_decay})


def units(seeds: int, tasks: Sequence[str]) -> list[Unit]:
    """Return all units in their order."""
    cases = [
        Case(task=name, optimizer=optimizer, steps=steps, batch=batch)
        for name in tasks
        for optimizer in OPTIMIZERS[name]
        for steps, batch in TARGETS
    ]
    found = [Unit(case=case, seed=seed) for case in cases for seed in range(seeds)]
    found += [Unit(case=case, seed=None) for case in cases if (case.steps, case.batch) in GRIDS]
    return sorted(found, key=lambda unit: unit.place)


def run(study: Study, todo: Sequence[Unit], minutes: float) -> None:
    """Work on units until the minutes are over, and tell what was done."""
    began, shares, spent, worked = time.monotonic(), [_share(unit) for unit in todo], 0.0, 0.0
    for place, unit in enumerate(todo):
        if time.monotonic() - began > 60 * minutes:
            return
        study.found(unit.case)  # a search is no part of the pace
        since = time.monotonic()
        if count := study.work(unit):
            took, spent = time.monotonic() - since, spent + shares[place]
            worked += took
            left = worked / spent * math.fsum(shares[place + 1 :]) / 60
            _say(
                f"{unit}: {count} runs in {took:.1f} s; {place + 1} of {len(todo)} units, about "
                f"{left:.0f} min left beside searches, {(since - began) / 60:.0f} min spent"
            )


def _share(unit: Unit) -> float:
    """Return about what a unit takes in proportion: more sets differ where both change."""
    several = {(1, 1): 2, (3, 1): 14, (10, 1): 9, (1, 4): 12}
    count = several.get((unit.case.steps, unit.case.batch), 15)
    return unit.case.steps * unit.case.batch**0.5 * (10 + count)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder; what is there is kept")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of this session")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=list(OPTIMIZERS), default=list(OPTIMIZERS))
    parser.add_argument("--report", action="store_true", help="write what was found, run nothing")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, or report."""
    given = _arguments()
    start_worker()
    study = Study(given.out)
    if given.report:
        _say(report(study))
    else:
        _sign(study.log)
        run(study, units(given.seeds, given.tasks), given.minutes)


def _sign(log: Log) -> None:
    """Keep on what machine and by which commit runs were made, where that is new."""
    here = machine.facts("cpu")
    if not log.of("machine", **{name: here[name] for name in ("device", "commit")}):
        log.add("machine", **here)


def report(study: Study) -> str:
    """Return what was found, in Markdown."""
    carried = {
        case: {who: hashed(setting) for who, setting in contenders(case, study.found(case)).items()}
        for case in dict.fromkeys(case for case, _ in study.runs.losses)
    }
    return transfer_report.report(study.runs, study.log, carried, SETS, REFERENCE)


if __name__ == "__main__":
    main()
