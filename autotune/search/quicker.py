"""Whether a small network trains quicker on the CPU than on a GPU: timed before its first trial."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from autotune.devices import AUTO, CPU
from autotune.engines import from_spec
from autotune.search.events import Listener, Notice
from autotune.search.opening import Checked, facts_of
from autotune.search.timing import Timed, timed
from autotune.studies.records import own_data
from autotune.tasks.precision import FP16

SMALL = 1_000_000  # parameters: what has more is left to the GPU untimed
LOOK = 2.0  # seconds in which steps are timed on each, once every worker has begun
PATIENCE = 15.0  # seconds after which a device that has not ended a step is given up


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A search on the device that trains it quicker.

    Args:
        asked: The search.
        seconds: What timing took, which counts as a part of the minutes.
    """

    asked: Checked
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """What full runs take on a device, and how many run at once."""

    run: float
    slots: int

    @property
    def each(self) -> float:
        """Seconds for each run where all workers run."""
        return self.run / self.slots

    def __str__(self) -> str:
        return f"{self.run:.2g} s a full run, {self.slots} at once"


def quicker(asked: Checked, listen: Listener, halt: threading.Event) -> Chosen:
    """Let ``--device auto`` take the CPU for a new search that it trains quicker than the GPU.

    Both are timed, by workers that end before the search begins. Nothing is asked of a stored
    search, a device that was named, a large network, or one that trains itself.

    Args:
        asked: The search, on the device that ``auto`` stands for.
        listen: Told what was chosen, and why.
        halt: Set it to stop.

    Raises:
        KeyboardInterrupt: ``halt`` was set.
    """
    if not _open(asked):
        return Chosen(asked=asked)
    gpu = asked.facts["device"]
    listen(Notice(text=f"timing steps on {gpu} and on the CPU"))
    here = asked.spec.model_copy(update={"device": CPU.kind})
    other = replace(asked, spec=here, facts=facts_of(here))
    (one, spent), (two, more) = _timed(asked, halt), _timed(other, halt)
    cpu = one is not None and two is not None and two.each < one.each
    listen(Notice(text=_told(gpu, one, two, cpu=cpu)))
    return Chosen(asked=other if cpu else asked, seconds=spent + more)


def _open(asked: Checked) -> bool:
    """Tell whether there is a choice of two devices; a Problem says its own where it has one."""
    spec, facts = asked.spec, asked.facts
    new = asked.stored is None and "device" in facts and not own_data(facts)
    free = spec.device == AUTO and spec.per_gpu == 1 and spec.precision != FP16
    return new and free and spec.engine == from_spec.PATIENT and _small(facts)


def _small(facts: Mapping[str, Any]) -> bool:
    size: int | None = facts.get("parameters")
    return size is not None and size <= SMALL


def _timed(asked: Checked, halt: threading.Event) -> tuple[_Pace | None, float]:
    """Return the pace of a search where its facts say, if a step ended, and what timing took."""
    with closing(from_spec.start(asked.spec, asked.facts)) as engine:
        what = (asked.spec, asked.facts, asked.spaces)
        found = timed(*what, engine, halt, look=LOOK, limit=PATIENCE)
    return _pace(found, asked), found.seconds


def _pace(found: Timed, asked: Checked) -> _Pace | None:
    if not found.costs:
        return None
    run = mean(cost.run(asked.ladder) for cost in found.costs.values())
    return _Pace(run=run, slots=found.slots)


def _told(gpu: str, one: _Pace | None, two: _Pace | None, *, cpu: bool) -> str:
    paces = "; ".join(
        f"{name}: {'no step was timed' if pace is None else pace}"
        for name, pace in ((gpu, one), ("CPU", two))
    )
    taken, kept = ("the CPU", gpu) if cpu else (gpu, CPU.kind)
    return f"auto takes {taken} ({paces}); --device {kept} takes the other"
