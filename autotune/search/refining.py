"""Refine a schedule from the gradient norms of a search's best run, and validate it.

The tuned setting is trained by the refined schedule and by its own, as long as the search trained
it, on fresh seeds that both share.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autotune.environment import SCHEDULES
from autotune.errors import NothingUsable, SpecError
from autotune.optimizers.registry import schedule
from autotune.results import comparison, refinement
from autotune.results.comparison import Comparison, Row
from autotune.results.refinement import REFINED, Refinement
from autotune.search import validating
from autotune.search.entrants import judged_row, source_of
from autotune.search.events import Listener
from autotune.search.status import current
from autotune.search.stored import opened, resume_command, split
from autotune.studies import gradients
from autotune.studies.reading import Reader
from autotune.studies.records import Gradient, SearchRecord, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec, limits
from autotune.studies.validations import Entrant, Plan, Refined
from autotune.training.refined_schedule import ADAM_L1, SGD_L2, refined, resampled
from autotune.transfer.base import ADAPTIVE, SGD
from autotune.transfer.kinds import kind_of

TAU = 0.1  # as in the authors' plots
POWERS = {ADAPTIVE: ADAM_L1, SGD: SGD_L2}
NORMS = {ADAM_L1: "L1", SGD_L2: "L2"}
_PROVEN = ("adam", "adamw", "sgd")  # what the paper's experiments trained with


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What schedule is to be refined, and what its validation may cost.

    Args:
        study: "search" or "search/optimizer"; without an optimizer, the one with the lowest loss.
        tau: Part of the run over which norms are smoothed, in [0, 1).
        seeds: Fresh seeds for each schedule; None: as many as the search judges on.
        runs: Limit in full runs; None: what the seeds need.
        minutes: Limit in minutes; while some are left, both run on more seeds.
        workers: Runs side by side; None: as the search had it.
        model: The text of a function that was given again; None: the search's model.
    """

    study: str
    tau: float = TAU
    seeds: int | None = None
    runs: float | None = None
    minutes: float | None = None
    workers: int | None = None
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A refined schedule before any run by it.

    Args:
        search: Name of the search.
        optimizer: Whose tuned setting it is for.
        steps: Of the run whose norms it is from.
        warmup: Fraction of it in which lr rose by the original schedule.
        origin: That run, and how its norms were read.
        table: Factors on lr at equal distances over the run.
        doubts: What may not hold for this optimizer.
    """

    search: str
    optimizer: str
    steps: int
    warmup: float
    origin: Refined
    table: tuple[float, ...]
    doubts: tuple[str, ...] = ()


def compute(asked: Asked, storage: str | None) -> Computed:
    """Return the schedule that a search's norms ask for, and train nothing.

    Raises:
        NotFound: There is no such search, or no such optimizer in it.
        SpecError: The search is not complete, or its optimizer has no schedule to refine.
        NothingUsable: It has no judged setting, or no norms that a schedule can be made from.
    """
    with opened(storage) as store:
        name, optimizer = split(asked.study)
        parent = current(store.search(name), store)
        validating.spec_of(parent, storage, REFINED)
        return _computed(store, comparison.load(store, name), optimizer, asked.tau, storage)[0]


def run(
    asked: Asked, storage: str | None, *, listen: Listener, halt: threading.Event
) -> Refinement:
    """Refine a schedule and train by it until the budget is spent; the same call again goes on.

    Raises:
        NotFound: There is no such search, or no such optimizer in it.
        SpecError: The search is not complete, or what is asked for cannot be run or paid.
        NothingUsable: It has no judged setting, or no norms that a schedule can be made from.
        AlreadyThere: Another process runs or validates it.
    """
    with validating.changeable(storage) as store:
        name, optimizer = split(asked.study)
        parent = current(store.search(name), store)
        spec = validating.spec_of(parent, storage, REFINED)
        found = comparison.load(store, name)
        computed, row = _computed(store, found, optimizer, asked.tau, storage)
        plan = _plan(parent, row, computed, _trials(store, parent, row))
        spec = _sized(spec, plan, asked)
        costs = {row.optimizer: validating.cost(_trials(store, parent, row))}
        number = validating.train(plan, spec, parent, costs, store, listen=listen, halt=halt)
        refinements = refinement.load(store, store.search(name))
        return next(one for one in refinements if one.number == number)


def _computed(
    store: Reader, found: Comparison, optimizer: str | None, tau: float, storage: str | None
) -> tuple[Computed, Row]:
    row = judged_row(found, optimizer, "no schedule to refine")
    power = _power(found.search, row.optimizer)
    if not (math.isfinite(tau) and 0.0 <= tau < 1.0):
        raise SpecError(f"tau must be in [0, 1), got {tau:g}")
    trial, measured = _best(store, found.search, row, storage)
    try:
        rates = refined(_norms(measured, power), power=power, tau=tau)
    except ValueError as error:
        raise NothingUsable(
            f"no schedule can be refined from trial {trial.number} of {row.optimizer} in search "
            f"'{found.search.name}': {error}"
        ) from None
    computed = Computed(
        search=found.search.name,
        optimizer=row.optimizer,
        steps=trial.target,
        warmup=row.tuned.setting.warmup,
        origin=Refined(trial=trial.number, norm=NORMS[power], tau=tau),
        table=resampled(rates),
        doubts=tuple(_doubts(row.optimizer)),
    )
    return computed, row


def _power(search: SearchRecord, optimizer: str) -> int:
    """Return the power of the norms' weights; raises SpecError where the theory has none."""
    shape = search.environment.get(SCHEDULES, {}).get(optimizer) or schedule(optimizer)
    if shape == "constant":
        raise SpecError(
            f"{optimizer} has no schedule to refine: it averages weights at a constant rate; "
            "refine one of an optimizer with a schedule"
        )
    family = kind_of(optimizer).family
    if family not in POWERS:
        which = f"is of the {family} methods" if family else "does not say how its steps scale"
        raise SpecError(
            f"no schedule is refined for {optimizer}: refinement is derived for SGD and for "
            f"adaptive methods, and its class {which}"
        )
    return POWERS[family]


def _best(
    store: Reader, search: SearchRecord, row: Row, storage: str | None
) -> tuple[TrialRecord, tuple[Gradient, ...]]:
    """Return the run of the tuned setting with the lowest loss among those with norms."""
    done = [
        trial
        for trial in _trials(store, search, row)
        if trial.state is TrialState.COMPLETE
        and trial.loss is not None
        and trial.setting.trains_like(row.tuned.setting)
    ]
    for trial in sorted(done, key=lambda trial: (trial.loss, trial.number)):
        measured = gradients.of(store, trial.id)
        if [one.step for one in measured] == list(range(1, trial.target + 1)):
            return trial, measured
    seeds = 1 + max(search.spec["seeds"], len(row.tuned.losses))
    raise NothingUsable(
        f"search '{search.name}' has no run of the tuned setting of {row.optimizer} with the "
        "gradient norms of all its steps; let it judge on one more seed with them, by: "
        f"{resume_command(search.name, storage)} --record-norms --seeds {seeds}"
    )


def _trials(store: Reader, search: SearchRecord, row: Row) -> list[TrialRecord]:
    study = next(s for s in search.studies if s.optimizer == row.optimizer)
    return store.trials(study.id)


def _norms(measured: Sequence[Gradient], power: int) -> list[float]:
    norms = [one.l1 if power == ADAM_L1 else one.l2 for one in measured]
    return [math.nan if norm is None else norm for norm in norms]


def _doubts(optimizer: str) -> Iterator[str]:
    if optimizer not in _PROVEN:
        yield (
            f"{optimizer}: schedule refinement was derived for SGD and Adam and tried with them; "
            "for others the verdict here is all there is"
        )


def _plan(
    parent: SearchRecord, row: Row, computed: Computed, trials: Sequence[TrialRecord]
) -> Plan:
    """Return what is trained: the tuned setting by the table, and as the search trained it."""
    source = source_of(trials, row.tuned.setting)
    entrants = tuple(
        Entrant(
            key=f"{row.optimizer} {which}, {word} schedule",
            optimizer=row.optimizer,
            which=which,
            source=source,
            setting=row.tuned.setting,
            schedule=table,
        )
        for which, word, table in (
            (REFINED, "refined", computed.table),
            ("tuned", "original", ()),
        )
    )
    return Plan(
        optimizer=row.optimizer,
        source=source,
        times=1.0,
        steps=computed.steps,
        batch_size=parent.task.get("batch_size"),
        rules=(),
        entrants=entrants,
        first_seed=0,
        doubts=computed.doubts,
        refined=computed.origin,
    )


def _sized(spec: SearchSpec, plan: Plan, asked: Asked) -> SearchSpec:
    """Return the spec of the stage."""
    spec = validating.with_changes(
        spec, seeds=asked.seeds, workers=asked.workers, model=asked.model
    )
    runs = asked.runs
    if runs is None and asked.minutes is None:
        runs = len(plan.entrants) * spec.seeds
    budget = limits(runs, asked.minutes)
    sizes = {"steps": plan.steps, "optimizers": (plan.optimizer,), "space": {}}
    sizes["try_first"] = ()
    return spec.model_copy(update={**sizes, "budget": budget})
