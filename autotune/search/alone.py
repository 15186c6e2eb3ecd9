"""Whether several workers take more steps a second than one does: timed before a search."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from autotune.engines.base import Engine
from autotune.scheduler.fitting import Cost
from autotune.search.events import Listener, Notice
from autotune.search.opening import Checked
from autotune.search.timing import EVALUATED, Timed, timed

LOOK = 1.5  # seconds in which steps are timed alone
PATIENCE = 5.0  # seconds after which timing alone is given up; slower steps are not timed alone
WORTH = 1.05  # how many times the steps of one worker several have to take


@dataclass(frozen=True, kw_only=True)
class Crew:
    """How many workers a search has, and what their steps take.

    Args:
        asked: The search, with so many workers.
        timed: What steps took with these.
        gain: How many times the steps of one worker all of them took; None: not timed.
    """

    asked: Checked
    timed: Timed
    gain: float | None = None


def crew(
    asked: Checked, beside: Timed, engine: Engine, listen: Listener, halt: threading.Event
) -> Crew:
    """Let one worker run a new search where several take no more steps a second.

    That is so where they share one processor, or its memory is what limits them. Nothing is asked
    where the number of workers was given, or where trials train on GPUs.

    Args:
        asked: The search.
        beside: What steps took with all workers side by side.
        engine: Where they were timed; it goes on with one worker if that is chosen.
        listen: Told if it is.
        halt: Set it to stop.

    Raises:
        KeyboardInterrupt: ``halt`` was set.
    """
    first = asked.spec.optimizers[0]
    if not _open(asked, beside, engine) or not _quick(beside.costs[first]):
        return Crew(asked=asked, timed=beside)
    what = (asked.spec, asked.facts, asked.spaces)
    alone = timed(*what, engine, halt, look=LOOK, limit=PATIENCE, slots=1)
    beside = replace(beside, seconds=beside.seconds + alone.seconds)
    if not alone.costs:
        return Crew(asked=asked, timed=beside)
    slower = beside.costs[first].step / alone.costs[first].step
    gain = beside.slots / slower
    if gain >= WORTH:
        return Crew(asked=asked, timed=beside, gain=gain)
    listen(Notice(text=_told(alone.costs[first].step, beside.costs[first].step, beside.slots)))
    engine.narrow(1)  # type: ignore[attr-defined]
    costs = {name: cost.times(1 / slower) for name, cost in beside.costs.items()}
    spec = asked.spec.model_copy(update={"workers": 1})
    return Crew(
        asked=replace(asked, spec=spec), timed=replace(beside, costs=costs, slots=1), gain=gain
    )


def _open(asked: Checked, beside: Timed, engine: Engine) -> bool:
    """Tell whether there is a choice: nobody gave a number, and the engine can take fewer."""
    free = "workers" not in asked.spec.model_fields_set and "device" not in asked.facts
    return free and beside.slots > 1 and bool(beside.costs) and hasattr(engine, "narrow")


def _quick(cost: Cost) -> bool:
    return cost.setup + EVALUATED * cost.step + cost.evaluation < PATIENCE


def _told(alone: float, beside: float, workers: int) -> str:
    return (
        f"1 worker takes {1 / alone:.2g} steps a second, {workers} side by side take "
        f"{workers / beside:.2g}, so trials run one after another; --workers {workers} fixes it"
    )
