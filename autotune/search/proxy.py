"""Fit a task to the minutes: time its steps, and shorten runs that could not pay for a verdict."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.engines.base import Engine
from autotune.pruners.ladder import Ladder, rungs_of
from autotune.scheduler.fitting import Cost, Pay, slowest
from autotune.scheduler.policy import Policy
from autotune.search.alone import crew
from autotune.search.events import Listener, Notice
from autotune.search.opening import SHORTENED, Checked, facts_of
from autotune.search.timing import Timed, patience, timed
from autotune.space.presets import over_runs
from autotune.studies.spec import SearchSpec
from autotune.tasks.base import LOOP

LOADING = 3.0  # seconds until the first trial begins, once its steps were timed
FIXES = {"steps": "--steps", "batch_size": "--batch-size", "image_size": "--image-size"}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What is known of a search's time before its first trial.

    Args:
        asked: The search, its task as short as the minutes ask for.
        own: What was shortened, as it was before, by key of the spec.
        timed: What steps took; None where nothing was timed.
        pay: The budget at that pace; None where no step was timed.
        seconds: What timing took, which counts as a part of the minutes.
        needed: Minutes that would pay for a verdict, where the budget cannot.
        gain: How many times the steps of one worker all of them took; None: not timed.
    """

    asked: Checked
    own: Mapping[str, int] = field(default_factory=dict)
    timed: Timed | None = None
    pay: Pay | None = None
    seconds: float = 0.0
    needed: int | None = None
    gain: float | None = None

    @property
    def costs(self) -> Mapping[str, Cost]:
        """What trials of each optimizer take; empty where that is not known."""
        return self.timed.costs if self.timed else {}

    @property
    def changed(self) -> str:
        """What was shortened, from what to what; nothing where nothing was."""
        facts = self.asked.facts
        return ", ".join(
            f"{key.replace('_', ' ')} {before} -> {facts[key]}" for key, before in self.own.items()
        )

    def told(self) -> str | None:
        """Say what was changed and why, or what the minutes cannot pay; None for neither."""
        spec, minutes = self.asked.spec, self.asked.spec.budget.resolved.minutes or 0.0
        if self.timed and self.timed.hung:
            return (
                f"no step ended within {patience(spec):.0f} s, so the search begins with the "
                f"shortest runs of its task ({self.changed})"
            )
        if self.pay is None:
            return None if self.timed is None else f"no step was timed: {self.timed.trouble}"
        least = self.pay.least(self.asked.ladder)
        what = f"at least {least} settings of each optimizer and for judging on {spec.seeds} seeds"
        at = f"at {_span(slowest(self.costs.values()).step)} a step"
        payers = f"{_minutes(minutes)} on {_workers(self.pay.slots, self.gain)}"
        if self.needed is not None:
            changed = f" ({self.changed})" if self.own else ""
            return (
                f"{payers} cannot pay for {what}, not even in runs of {self.asked.facts['steps']} "
                f"steps{changed} {at}: about {_minutes(self.needed)} would. The search continues "
                f"with what fits. For all of that: Ctrl-C, then rerun with --minutes {self.needed}"
            )
        if not self.own:
            return None
        fixes = " and ".join(FIXES[key] for key in self.own)
        verb = "fixes it" if len(self.own) == 1 else "fix them"
        return f"{self.changed}, so that {payers} can pay for {what} {at}; {fixes} {verb}"


def fit(
    asked: Checked,
    engine: Engine,
    listen: Listener,
    halt: threading.Event,
    *,
    fixed: bool = False,
    spent: float = 0.0,
) -> Fit:
    """Time a new search's steps and shorten its task as its minutes ask for.

    A stored search keeps the task that it was begun with, and so does a budget without minutes.

    Args:
        asked: The search.
        engine: Where its trials will run.
        listen: Told what happens.
        halt: Set it to stop.
        fixed: Time a task that may not be shortened as well.
        spent: Seconds of the minutes that are spent already.

    Raises:
        KeyboardInterrupt: ``halt`` was set.
    """
    minutes = asked.spec.budget.resolved.minutes
    if asked.stored is None and minutes is not None and LOOP in asked.facts:
        listen(Notice(text=_untimed(asked)))
        return Fit(asked=asked, seconds=spent)
    if asked.stored is not None or minutes is None or not (fixed or _variable(asked)):
        return Fit(asked=asked, seconds=spent)
    side = "1 trial" if engine.slots == 1 else f"{engine.slots} trials side by side"
    listen(Notice(text=f"timing steps, {side}"))
    found = _fit(asked, engine, listen, halt, spent)
    if text := found.told():
        listen(Notice(text=text))
    return found


def _untimed(asked: Checked) -> str:
    return (
        f"{asked.spec.model} trains itself, so its pace is known from its first trials on and its "
        f"runs keep their {_steps(asked)} steps"
    )


def _variable(asked: Checked) -> bool:
    return any(one is not asked.spec for one in _smaller(asked)) or _lowest(asked) < _steps(asked)


def _fit(
    asked: Checked, engine: Engine, listen: Listener, halt: threading.Event, spent: float
) -> Fit:
    seconds = 60 * (asked.spec.budget.resolved.minutes or 0.0)
    found = timed(asked.spec, asked.facts, asked.spaces, engine, halt)
    taken = crew(asked, found, engine, listen, halt)
    asked, found = taken.asked, taken.timed
    spent += found.seconds
    fitted = _planned(asked, asked, found, seconds - spent - LOADING)
    for spec in _smaller(asked):
        if not found.costs or fitted.needed is None:
            break
        own = replace(asked, spec=spec, facts=facts_of(spec))
        found = timed(spec, own.facts, own.spaces, engine, halt)
        spent += found.seconds
        fitted = _planned(asked, own, found, seconds - spent - LOADING)
    needed = fitted.needed and math.ceil((spent + LOADING + fitted.needed) / 60)
    return replace(fitted, seconds=spent, needed=needed, gain=taken.gain)


def _planned(asked: Checked, own: Checked, found: Timed, left: float) -> Fit:
    """Return what becomes of a task in the seconds left; ``needed`` is in seconds here."""
    shortest, pay = _lowest(asked), None
    if not found.costs:
        steps = shortest if found.hung else _steps(own)
    else:
        pay = Pay(policy=Policy.of(own.spec), costs=found.costs, slots=found.slots, left=left)
        steps = pay.steps(lambda count: _rungs(own, count), shortest, _steps(own)) or 0
    short = pay is not None and not steps
    cut = _cut(asked, own, steps or shortest)
    needed = math.ceil(pay.needed(cut.ladder)) if pay and short else None
    return Fit(asked=cut, own=_before(asked, cut), timed=found, pay=pay, needed=needed)


def _cut(asked: Checked, own: Checked, steps: int) -> Checked:
    """Return a search with runs of so many steps, and what it was before among its facts."""
    if steps != _steps(own):
        spec = own.spec.model_copy(update={"steps": steps})
        spaces = over_runs(own.spaces, steps)
        own = replace(own, spec=spec, facts=facts_of(spec), spaces=spaces)
    before = _before(asked, own)
    facts = {**own.facts, SHORTENED: before} if before else own.facts
    return replace(own, facts=facts, ladder=rungs_of(facts))


def _before(asked: Checked, now: Checked) -> dict[str, int]:
    """Return what differs from the task as it was asked for, as it was."""
    was, given = asked.spec, now.spec
    return {key: asked.facts[key] for key in FIXES if getattr(was, key) != getattr(given, key)}


def _smaller(asked: Checked) -> Iterator[SearchSpec]:
    """Yield the spec with a smaller batch, then with smaller images as well.

    Each only if the task declares it and it was not asked for.
    """
    spec = asked.spec
    if spec.steps is not None:
        return
    for key in ("batch_size", "image_size"):
        least, own = getattr(asked.shortest, key, None), asked.facts.get(key)
        if least is not None and own is not None and least < own and getattr(spec, key) is None:
            spec = spec.model_copy(update={key: least})
            yield spec


def _steps(asked: Checked) -> int:
    return int(asked.facts["steps"])


def _lowest(asked: Checked) -> int:
    """Return the fewest steps that a full run may have."""
    if asked.shortest is None or asked.spec.steps is not None:
        return _steps(asked)
    return min(asked.shortest.steps, _steps(asked))


def _rungs(own: Checked, steps: int) -> Ladder:
    facts: dict[str, Any] = {**own.facts, "steps": steps}
    if "compare_from" in facts:
        facts["compare_from"] = round(facts["compare_from"] * steps / _steps(own))
    return rungs_of(facts)


def _minutes(count: float) -> str:
    return "1 minute" if count == 1 else f"{count:g} minutes"


def _workers(count: int, gain: float | None) -> str:
    if count == 1:
        return "1 worker"
    return f"{count} workers" + (f" ({gain:.2g} times the steps of one)" if gain else "")


def _span(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"
