"""A table of recorded curves, made by training every setting of a grid for real.

Runs of a model that can be trained side by side are, so many at once as its task says.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotune import environment, optimizers, seeds
from autotune.bench.search.grid import RENAMED, ground
from autotune.bench.search.table import Axes, Floats, Table, save, unreadable, write
from autotune.errors import SpecError
from autotune.pruners.ladder import ladder
from autotune.space.coordinates import decode
from autotune.studies.setting import Setting
from autotune.tasks.base import Task
from autotune.training.side_by_side import Member, loss_curves

SAVED_EVERY = 10.0  # seconds between writes of an incomplete table

DEFAULT = {
    "lr": tuple(10 ** (k / 2) for k in range(-6, 3)),
    "weight_decay": (1e-3, 0.02, 0.4, 8.0),
    "reckless": (2.0, 8.0),
    "one_minus_beta1": (0.02, 0.08, 0.32),
    "one_minus_beta3": (0.01, 0.04, 0.16),
}

Ticked = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What to record.

    Args:
        task: What is trained.
        asked: The arguments of ``autotune.tasks.resolve.resolve`` that made it.
        optimizer: Registry name.
        axes: Values by parameter, ascending.
        seeds: How many runs each setting gets; they share initialisations and batch orders.
    """

    task: Task
    asked: Mapping[str, Any]
    optimizer: str
    axes: Axes
    seeds: int

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise SpecError(
                f"a table must have at least 2 seeds, one to search on and one to judge on, "
                f"got {self.seeds}"
            )

    @property
    def rungs(self) -> tuple[int, ...]:
        """Return the steps after which losses are measured."""
        return ladder(self.task.steps).steps

    @property
    def settings(self) -> int:
        """Return the number of settings in the grid."""
        return math.prod(map(len, self.axes.values()))

    @property
    def runs(self) -> int:
        """Return the number of runs."""
        return self.seeds * self.settings

    def facts(self) -> dict[str, Any]:
        """Return everything that the losses depend on."""
        return {
            "task": dict(self.task.facts()),
            "asked": dict(self.asked),
            "optimizer": self.optimizer,
            "axes": {name: list(values) for name, values in self.axes.items()},
            "seeds": [seeds.training(0, index) for index in range(self.seeds)],
        }

    def member(self, seed: int, number: int) -> Member:
        """Return the run of setting ``number`` on seed index ``seed``."""
        places = np.unravel_index(number, tuple(map(len, self.axes.values())))
        params = {
            RENAMED.get(name, name): values[place]
            for (name, values), place in zip(self.axes.items(), places, strict=True)
        }
        hyper, warmup = decode(params, optimizers.defaults(self.optimizer))
        setting = Setting(params=params, hyper=hyper, warmup=warmup)
        return Member(setting=setting, seed=seeds.training(0, seed))

    def table(self, losses: Floats, name: str = "") -> Table:
        """Return the table of these losses."""
        return Table(
            name=name, axes=self.axes, rungs=self.rungs, losses=losses, optimizer=self.optimizer
        )

    def nothing(self) -> Floats:
        """Return the losses before any run: NaN everywhere."""
        return np.full((self.seeds, self.settings, len(self.rungs)), np.nan, dtype=np.float32)


def plan(
    task: Task,
    asked: Mapping[str, Any],
    optimizer: str,
    grid: Mapping[str, Sequence[float]],
    runs: int,
) -> Recording:
    """Return what to record; raises SpecError for a grid that a table cannot have."""
    axes = {name: tuple(sorted(map(float, values))) for name, values in grid.items()}
    made = Recording(task=task, asked=asked, optimizer=optimizer, axes=axes, seeds=runs)
    ground(made.table(np.zeros_like(made.nothing()), "the grid"))
    return made


def record(what: Recording, path: Path, ticked: Ticked = lambda over, total: None) -> bool:
    """Train what is not yet recorded and write the table; return whether it is complete.

    An interrupt keeps what was trained in a file beside the table, and the same call goes on.
    """
    losses = _resumed(what, _part(path))
    before, saved = _over(losses), time.monotonic()
    try:
        for seed, numbers in _left(what, losses):
            members = [what.member(seed, number) for number in numbers]
            losses[seed, numbers] = loss_curves(what.task, what.optimizer, members, what.rungs)
            ticked(_over(losses) - before, what.runs - before)
            if time.monotonic() - saved > SAVED_EVERY:
                _save(what, _part(path), losses)
                saved = time.monotonic()
    except KeyboardInterrupt:
        _save(what, _part(path), losses)
        return False
    facts = {**what.facts(), "environment": environment.facts()}
    write(what.table(losses), path, facts)
    _part(path).unlink(missing_ok=True)
    return True


def progress(what: Recording, path: Path) -> int:
    """Return the number of runs that earlier calls recorded."""
    return _over(_resumed(what, _part(path)))


def _over(losses: Floats) -> int:
    return int((~np.isnan(losses[:, :, -1])).sum())


def _left(what: Recording, losses: Floats) -> Iterator[tuple[int, list[int]]]:
    """Yield the runs to train together: settings with one seed, which share their batches."""
    together = max(1, getattr(what.task, "runs_at_once", 1))
    for seed in range(what.seeds):
        missing = np.flatnonzero(np.isnan(losses[seed, :, -1])).tolist()
        for start in range(0, len(missing), together):
            yield seed, missing[start : start + together]


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _save(what: Recording, path: Path, losses: Floats) -> None:
    """Write the losses so far; the old file is replaced only when the new one is complete."""
    save(path, losses=losses, facts_json=np.array(json.dumps(what.facts())))


def _resumed(what: Recording, path: Path) -> Floats:
    """Return the losses of earlier calls; all missing if there are none."""
    if not path.exists():
        return what.nothing()
    with unreadable(path), np.load(path, allow_pickle=False) as file:
        facts, losses = json.loads(str(file["facts_json"])), file["losses"]
    if facts != json.loads(json.dumps(what.facts())):
        raise SpecError(
            f"{path} was begun for another model, grid or number of seeds; remove it, or give "
            "what it was begun with"
        )
    return np.asarray(losses)
