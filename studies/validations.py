"""Validations: stages of a search that train its settings for longer, each stored as a search is.

So leases, turns, checkpoints and the time spent are kept as those of a search are, and the search
itself stays as it was. What a user lists are searches; a stage is found through its search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from autotune.studies import attempts
from autotune.studies.models import Search, Study, Validation
from autotune.studies.names import LONGEST
from autotune.studies.reading import Reader
from autotune.studies.records import SearchRecord, SearchState
from autotune.studies.setting import Setting
from autotune.studies.store import Store

_ROOM = 24  # characters for what a stage's name has beyond its search's


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A setting that is trained in the longer run.

    Args:
        key: Distinct within a validation; the trials' origin.
        optimizer: Its optimizer.
        which: "tuned", "default", "refined" by its schedule, or "ranked" where only its place
            among others counts.
        source: Number of the search trial that first ran the setting.
        setting: As the longer run has it.
        rules: What restated it; None where it is as it was found.
        proxy: Its loss in the search, on one seed; None where only the judged ones count.
        schedule: Factors on its lr over the run; empty: warm-up and cosine, as in the search.
    """

    key: str
    optimizer: str
    which: str
    source: int
    setting: Setting
    rules: tuple[str, ...] | None = None
    proxy: float | None = None
    schedule: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Refined:
    """What a schedule was refined from.

    Args:
        trial: Number of the search's trial whose gradient norms these were.
        norm: "L1" or "L2".
        tau: Part of the run over which they were smoothed.
    """

    trial: int
    norm: str
    tau: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a validation runs.

    Args:
        optimizer: Whose tuned setting is validated.
        source: Number of the search trial that first ran that setting.
        times: How many times as long the runs are.
        steps: Steps of a run.
        batch_size: Samples of a batch; None: not known.
        rules: The sets of rules that are compared.
        entrants: All settings, in the order in which they run.
        first_seed: Index of the first seed; no other stage of the search uses it or a later one.
        doubts: What the rules warned of.
        refined: What a schedule was refined from, where that is what is validated.
    """

    optimizer: str
    source: int
    times: float
    steps: int
    batch_size: int | None
    rules: tuple[tuple[str, ...], ...]
    entrants: tuple[Entrant, ...]
    first_seed: int
    doubts: tuple[str, ...] = ()
    refined: Refined | None = None

    def as_data(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return asdict(self)


def plan_of(data: Mapping[str, Any]) -> Plan:
    """Return a plan from plain data: the inverse of ``Plan.as_data``."""
    values = dict(data)
    entrants = tuple(map(_entrant, values.pop("entrants")))
    rules = tuple(map(tuple, values.pop("rules")))
    refined = Refined(**given) if (given := values.pop("refined", None)) else None
    values["doubts"] = tuple(values["doubts"])
    return Plan(**values, entrants=entrants, rules=rules, refined=refined)


def _entrant(data: Mapping[str, Any]) -> Entrant:
    rules = None if data["rules"] is None else tuple(data["rules"])
    schedule, setting = tuple(data.get("schedule", ())), Setting(**data["setting"])
    return Entrant(**{**data, "rules": rules, "setting": setting, "schedule": schedule})


@dataclass(frozen=True, kw_only=True)
class ValidationRecord:
    """A stored validation.

    Args:
        number: From 1, within its search.
        plan: What it runs.
        stage: How it stands, as a search.
    """

    number: int
    plan: Plan
    stage: SearchRecord


def of(store: Reader, search_id: int) -> list[ValidationRecord]:
    """Return the validations of a search, the oldest first."""
    query = (
        select(Validation.number, Validation.plan, Search.name)
        .join(Search, Search.id == Validation.stage_id)
        .where(Validation.search_id == search_id)
        .order_by(Validation.number)
    )
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return [
        ValidationRecord(number=row.number, plan=plan_of(row.plan), stage=store.search(row.name))
        for row in rows
    ]


def following(store: Reader, search_id: int) -> int:
    """Return the number of a search's next validation."""
    query = select(func.max(Validation.number)).where(Validation.search_id == search_id)
    with store.reading() as connection:
        return (connection.scalar(query) or 0) + 1


def begin(
    store: Store,
    parent: SearchRecord,
    number: int,
    plan: Plan,
    spec: Mapping[str, Any],
    task: Mapping[str, Any],
) -> ValidationRecord:
    """Store a new validation of a search, with a study for each optimizer in it.

    Args:
        store: Where the search is stored.
        parent: The search.
        number: As ``following`` gave it; another process that was faster raises IntegrityError.
        plan: What it runs.
        spec: The spec of its stage.
        task: Facts of its task.
    """
    name = stage_name(parent, number)
    with store.writing() as connection:
        now = attempts.now(connection)
        stage = _stage(connection, parent, name, spec, task)
        spaces = {study.optimizer: study.space for study in parent.studies}
        for optimizer in dict.fromkeys(each.optimizer for each in plan.entrants):
            space = dict(spaces[optimizer])
            query = insert(Study).values(search_id=stage, optimizer=optimizer, space=space)
            connection.execute(query)
        own: dict[str, Any] = {"number": number, "plan": plan.as_data(), "created": now}
        connection.execute(insert(Validation).values(search_id=parent.id, stage_id=stage, **own))
    return ValidationRecord(number=number, plan=plan, stage=store.search(name))


def _stage(
    connection: Connection,
    parent: SearchRecord,
    name: str,
    spec: Mapping[str, Any],
    task: Mapping[str, Any],
) -> int:
    """Store the stage as a search that began in the environment of its own one."""
    now = attempts.now(connection)
    values: dict[str, Any] = {
        "name": name,
        "spec": dict(spec),
        "task": dict(task),
        "environment_id": select(Search.environment_id)
        .where(Search.id == parent.id)
        .scalar_subquery(),
        "state": SearchState.RUNNING,
        "seconds": 0.0,
        "revision": 0,
        "created": now,
        "updated": now,
    }
    query = insert(Search).values(**values).returning(Search.id)
    return int(connection.execute(query).scalar_one())


def stage_name(parent: SearchRecord, number: int) -> str:
    """Return what the stage of a validation is stored as: no user can name a search so."""
    own = parent.name
    if len(own) > LONGEST - _ROOM:
        own = f"{own[: LONGEST - 2 * _ROOM]}~{parent.id}"
    return f"{own}/validation-{number}"
