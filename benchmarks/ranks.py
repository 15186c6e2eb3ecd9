"""Measure whether shorter runs of a task rank settings as its longer runs do.

Trains Sobol points of an optimizer's space on two seeds, once on images of the task's own size and
once on smaller ones, and prints how alike the two rank the settings (Spearman's coefficient of mean
losses, with an interval that draws settings again). Losses are compared, not times: the machine
need not be idle. Each loss is appended to a file as it comes: the same command goes on with it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from real_clock_results import Log
from scipy.stats import spearmanr

from autotune.samplers.sobol import sampler
from autotune.search.opening import prepare
from autotune.space.spaces import Space
from autotune.studies.setting import Setting
from autotune.studies.spec import SearchSpec, parse
from autotune.tasks.constant import LOSS
from autotune.tasks.resolve import resolve
from autotune.training.process import start_worker
from autotune.training.side_by_side import Member, loss_curves

OUT = Path("ranks.jsonl")
DRAWS = 2000  # of settings, for an interval
FEWEST = 4  # settings that are worth ranking


@dataclass(frozen=True, kw_only=True)
class Size:
    """How long a run is: images of so many pixels a side, and so many steps."""

    pixels: int
    steps: int

    def __str__(self) -> str:
        return f"{self.steps} steps on {self.pixels} pixels"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared.

    Args:
        model: Name of the task.
        optimizer: Whose settings are ranked.
        settings: Number of points of its space.
        seeds: Runs of a setting at each size.
        longer: The size whose ranks count.
        shorter: The size that is to rank alike.
    """

    model: str
    optimizer: str
    settings: int
    seeds: int
    longer: Size
    shorter: Size

    def points(self) -> list[Setting]:
        """Return the first Sobol points of the space over the longer run."""
        space = self._space()
        found = (sampler(space, (), index=index, seed=0) for index in range(self.settings))
        return [space.setting(params) for params in found]

    def _space(self) -> Space:
        asked = {"model": self.model, "optimizers": [self.optimizer], "budget": {"trials": 1}}
        return prepare(parse({**asked, "steps": self.longer.steps})).spaces[self.optimizer]

    def train(self, log: Log) -> None:
        """Train what the log does not hold yet: a setting at both sizes, then the next one."""
        for index, setting in enumerate(self.points()):
            for seed in range(1, 1 + self.seeds):
                for size in (self.longer, self.shorter):
                    key = self._key(size, index, seed)
                    if not log.of("ranked", **key):
                        log.add("ranked", **key, loss=self._loss(size, setting, seed))

    def _key(self, size: Size, index: int, seed: int) -> dict[str, str | int]:
        what = {"model": self.model, "optimizer": self.optimizer}
        # The range of weight decays depends on the steps, so the points do.
        point = {"space": self.longer.steps, "setting": index, "seed": seed}
        return {**what, "pixels": size.pixels, "steps": size.steps, **point}

    def _loss(self, size: Size, setting: Setting, seed: int) -> float | None:
        """Return the validation loss at the end of a run; None: it diverged."""
        task = resolve(self.model, steps=size.steps, image_size=size.pixels)
        member = Member(setting=setting, seed=seed)
        loss = float(loss_curves(task, self.optimizer, [member], (size.steps,))[0, 0])
        return loss if math.isfinite(loss) else None

    def losses(self, log: Log) -> tuple[np.ndarray, np.ndarray]:
        """Return the losses at the longer and the shorter size, a row for each setting.

        Settings that were not yet trained on every seed at both are left out. A run that diverged
        has an infinite loss.
        """
        rows = [
            [self._found(log, size, index) for size in (self.longer, self.shorter)]
            for index in range(self.settings)
        ]
        whole = [pair for pair in rows if min(map(len, pair)) == self.seeds]
        longer, shorter = np.array(whole).reshape(-1, 2, self.seeds).swapaxes(0, 1)
        return longer, shorter

    def _found(self, log: Log, size: Size, index: int) -> list[float]:
        keys = [self._key(size, index, seed) for seed in range(1, 1 + self.seeds)]
        found = [record["loss"] for key in keys for record in log.of("ranked", **key)]
        return [math.inf if loss is None else loss for loss in found]


def constant(model: str) -> float:
    """Return the loss of one constant answer, or infinity where none is known."""
    return float(resolve(model).facts().get(LOSS, math.inf))


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's coefficient; NaN where all of one are equal."""
    if min(len(set(one)), len(set(other))) < 2:
        return math.nan
    return float(spearmanr(one, other).statistic)


def interval(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the likeness, over settings."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(one), size=(DRAWS, len(one)))
    found = [likeness(one[rows].tolist(), other[rows].tolist()) for rows in drawn]
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def report(study: Study, log: Log) -> Iterator[str]:
    """Yield lines that say how alike the sizes rank, and how alike seeds do at the longer one."""
    longer, shorter = study.losses(log)
    count = len(longer)
    yield f"{study.model}, {count} settings of {study.optimizer} on {study.seeds} seeds"
    if count < FEWEST:
        return
    low, high = interval(longer.mean(1), shorter.mean(1))
    alike = likeness(longer.mean(1).tolist(), shorter.mean(1).tolist())
    yield f"  {study.shorter} ranks as {study.longer}: {alike:.2f} ({low:.2f} to {high:.2f})"
    if study.seeds > 1:
        seeds = likeness(longer[:, 0].tolist(), longer[:, 1].tolist())
        yield f"  one seed ranks as the other, {study.longer}: {seeds:.2f}"
    best = int(shorter.mean(1).argmin())
    place = 1 + int((longer.mean(1) < longer.mean(1)[best]).sum())
    yield f"  the best setting of the shorter runs is number {place} of the longer"
    worst = constant(study.model)
    far, near = (int((found.mean(1) < 0.99 * worst).sum()) for found in (longer, shorter))
    yield f"  below 0.99 of a constant answer's loss: {far} of the longer, {near} of the shorter"


def asked() -> tuple[list[Study], Path, bool]:
    """Return what the command line asks for: studies, the file of losses, and whether to train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL:PIXELS", help="smaller size of a task")
    parser.add_argument("--optimizer", default="adan")
    parser.add_argument("--settings", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of all runs; default: the task's fewest")
    parser.add_argument("--own", action="store_true", help="longer runs have the task's own steps")
    parser.add_argument("--out", type=Path, default=OUT, help="file to which losses are appended")
    parser.add_argument("--report", action="store_true", help="train nothing")
    given = parser.parse_args()
    return [_study(text, given) for text in given.models], given.out, not given.report


def _study(text: str, given: argparse.Namespace) -> Study:
    model, _, pixels = text.partition(":")
    found = prepare(_spec(model, given.optimizer))
    own, shortest = found.facts, found.shortest
    steps = given.steps or (shortest.steps if shortest else own["steps"])
    return Study(
        model=model,
        optimizer=given.optimizer,
        settings=given.settings,
        seeds=given.seeds,
        longer=Size(pixels=own["image_size"], steps=own["steps"] if given.own else steps),
        shorter=Size(pixels=int(pixels or own["image_size"]), steps=steps),
    )


def _spec(model: str, optimizer: str) -> SearchSpec:
    return parse({"model": model, "optimizers": [optimizer], "budget": {"trials": 1}})


def main() -> None:
    """Train what is missing and print how alike the sizes rank."""
    start_worker()
    studies, out, train = asked()
    log = Log(out)
    for study in studies:
        if train:
            study.train(log)
        sys.stdout.write("\n".join(report(study, log)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
