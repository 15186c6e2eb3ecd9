"""What a search would do and cost, before anything of it runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from autotune.engines import from_spec
from autotune.pruners.ladder import Ladder
from autotune.scheduler import fitting, full_runs
from autotune.scheduler.policy import Policy
from autotune.search import earlier, opening, proxy
from autotune.search.events import Listener, ignore
from autotune.search.opening import SHORTENED
from autotune.search.proxy import Fit
from autotune.search.quicker import quicker
from autotune.search.stored import opened, there
from autotune.space.presets import presets_of
from autotune.space.spaces import Space
from autotune.studies.records import SearchRecord
from autotune.studies.spec import SearchSpec


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What was timed for a budget of minutes, and what it pays for.

    Args:
        step: Seconds of a training step beside the others, by optimizer.
        evaluation: Seconds of an evaluation, likewise.
        full_run: Seconds of a full run, likewise.
        workers: How many trials run side by side.
        gain: How many times the steps of one worker several took; None: not timed.
        settings: About how many settings of each optimizer the minutes pay for.
        seconds: What timing takes, and then searching, selecting and judging.
    """

    step: Mapping[str, float]
    evaluation: Mapping[str, float]
    full_run: Mapping[str, float]
    workers: int
    gain: float | None
    settings: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a search.

    Args:
        name: Name of the search.
        task: What identifies the task.
        optimizers: Registry names.
        rungs: Steps at which a trial may pause; the last is a full run.
        budget: Its limits.
        full_runs: Full runs of one optimizer, by stage; "search" is None if only time limits it.
        spaces: Searched parameters by optimizer, as plain data.
        presets: Settings tried first, by optimizer.
        settings: About how many settings of each optimizer trials and full runs pay for; None where
            only time limits them.
        schedule: What was timed; None without minutes, and where no step could be timed.
        told: What became of the task and why, if anything did.
    """

    name: str
    task: Mapping[str, Any]
    optimizers: tuple[str, ...]
    rungs: tuple[int, ...]
    budget: Mapping[str, Any]
    full_runs: Mapping[str, float | None]
    spaces: Mapping[str, Any]
    presets: Mapping[str, list[str]]
    settings: int | None = None
    schedule: Schedule | None = None
    told: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {**asdict(self), "optimizers": list(self.optimizers), "rungs": list(self.rungs)}


def plan(
    spec: SearchSpec,
    storage: str | None = None,
    *,
    listen: Listener = ignore,
    halt: threading.Event | None = None,
) -> Plan:
    """Return the plan of a search; stores nothing, and trains only to time steps for minutes.

    Args:
        spec: What would be searched.
        storage: Where it may be stored, with the task that it was begun with.
        listen: Told what happens.
        halt: Set it to stop.

    Raises:
        KeyboardInterrupt: ``halt`` was set.
    """
    minutes = spec.budget.resolved.minutes
    stored = _stored(spec, storage) if minutes is not None else None
    spec = opening.as_begun(spec, stored)
    prepared = opening.prepare(spec, stored=stored)
    asked = replace(opening.beginning(spec, prepared), stored=stored)
    fit = Fit(asked=asked)
    if minutes is not None and stored is None:
        from_spec.ready(spec)
        halt = halt or threading.Event()
        where = quicker(asked, listen, halt)
        with closing(from_spec.start(spec, where.asked.facts)) as engine:
            spent = where.seconds
            fit = proxy.fit(where.asked, engine, listen, halt, fixed=True, spent=spent)
    return _plan(fit)


def _stored(spec: SearchSpec, storage: str | None) -> SearchRecord | None:
    if not there(storage):
        return None
    with opened(storage) as store:
        return opening.stored_as(spec, store)


def _plan(fit: Fit) -> Plan:
    asked = fit.asked
    spec, facts, spaces, rungs = asked.spec, asked.facts, asked.spaces, asked.ladder
    kept = asked.stored.task.get(SHORTENED) if asked.stored else None
    return Plan(
        name=spec.search_name,
        task={**facts, SHORTENED: kept} if kept else facts,
        optimizers=spec.optimizers,
        rungs=rungs.steps,
        budget=spec.budget.resolved.model_dump(exclude_none=True),
        full_runs={
            "search": _searching(spec, rungs),
            "select": float(spec.finalists + 1),
            "judge": float(2 * spec.seeds),
        },
        spaces={name: space.as_data() for name, space in spaces.items()},
        presets={name: _tried(spec, name, space) for name, space in spaces.items()},
        settings=_settings(spec, rungs),
        schedule=_schedule(fit),
        told=fit.told(),
    )


def _tried(spec: SearchSpec, optimizer: str, space: Space) -> list[str]:
    """Return where the settings come from that are tried first."""
    first, *others = presets_of(optimizer, space)
    known = earlier.candidates(spec, optimizer, space)
    return [each.origin for each in (first, *known, *others)]


def _schedule(fit: Fit) -> Schedule | None:
    if fit.pay is None:
        return None
    costs, rungs = fit.costs.items(), fit.asked.ladder
    return Schedule(
        step={name: cost.step for name, cost in costs},
        evaluation={name: cost.evaluation for name, cost in costs},
        full_run={name: cost.run(rungs) for name, cost in costs},
        workers=fit.pay.slots,
        gain=fit.gain,
        settings=fit.pay.settings(rungs),
        seconds={"timing": fit.seconds, **fit.pay.shares(rungs)},
    )


def _settings(spec: SearchSpec, rungs: Ladder) -> int | None:
    policy = Policy.of(spec)
    limits = (policy.budget.runs, policy.budget.trials)
    return None if limits == (None, None) else fitting.most_settings(policy, rungs)


def _searching(spec: SearchSpec, rungs: Ladder) -> float | None:
    policy, limits = Policy.of(spec), []
    if policy.budget.runs is not None:
        limits.append(max(0.0, policy.budget.runs - full_runs.final_runs(policy)))
    if policy.budget.trials is not None:
        limits.append(full_runs.search_runs(policy, policy.budget.trials, rungs.from_safe()))
    return min(limits, default=None)
