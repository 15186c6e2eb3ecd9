"""What a search would do and cost, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autotune.pruners.ladder import Ladder, rungs_of
from autotune.scheduler import stages
from autotune.scheduler.policy import Policy
from autotune.search import opening
from autotune.space.presets import presets_of
from autotune.studies.spec import SearchSpec


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
    """

    name: str
    task: Mapping[str, Any]
    optimizers: tuple[str, ...]
    rungs: tuple[int, ...]
    budget: Mapping[str, Any]
    full_runs: Mapping[str, float | None]
    spaces: Mapping[str, Any]
    presets: Mapping[str, list[str]]

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {**asdict(self), "optimizers": list(self.optimizers), "rungs": list(self.rungs)}


def plan(spec: SearchSpec) -> Plan:
    """Return the plan of a search; builds the task but trains and stores nothing."""
    facts, spaces, _ = opening.prepare(spec)
    rungs = rungs_of(facts)
    return Plan(
        name=spec.search_name,
        task=facts,
        optimizers=spec.optimizers,
        rungs=rungs.steps,
        budget=spec.budget.resolved.model_dump(exclude_none=True),
        full_runs={
            "search": _searching(spec, rungs),
            "select": float(spec.finalists + 1),
            "judge": float(2 * spec.seeds),
        },
        spaces={name: space.as_data() for name, space in spaces.items()},
        presets={
            name: [s.origin for s in presets_of(name, space)] for name, space in spaces.items()
        },
    )


def _searching(spec: SearchSpec, rungs: Ladder) -> float | None:
    policy, limits = Policy.of(spec), []
    if policy.budget.runs is not None:
        limits.append(max(0.0, policy.budget.runs - stages.final_runs(policy)))
    if policy.budget.trials is not None:
        limits.append(stages.search_runs(policy, policy.budget.trials, rungs.from_safe()))
    return min(limits, default=None)
