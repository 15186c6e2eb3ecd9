"""Validate a search: train what it found for longer, beside what it has to beat."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

from autotune import devices, optimizers
from autotune.config import refuse_asked
from autotune.engines import from_spec
from autotune.errors import NotFound, SpecError
from autotune.pruners.ladder import rungs_of
from autotune.results import comparison, noise
from autotune.results.validation import Validation
from autotune.scheduler import validating
from autotune.scheduler.budget import MARGIN
from autotune.scheduler.fitting import Cost
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.search import entrants
from autotune.search.coordinator import Loop
from autotune.search.device import as_here
from autotune.search.entrants import Asked
from autotune.search.events import Listener, Notice
from autotune.search.facts import changed_facts
from autotune.search.lock import coordinator, exclusive, folder_of
from autotune.search.opening import Opened, facts_of
from autotune.search.renewal import TRIES
from autotune.search.rerun import SIMULATED
from autotune.search.status import current
from autotune.search.stored import resume_command, split, there
from autotune.search.turns import merge
from autotune.search.validator import Validator
from autotune.space import spaces
from autotune.studies import urls, validations
from autotune.studies.records import (
    Command,
    SearchRecord,
    SearchState,
    TrialRecord,
    TrialState,
)
from autotune.studies.spec import SearchSpec, limits, parse
from autotune.studies.store import Store
from autotune.studies.validations import Plan, ValidationRecord
from autotune.tasks.script import refuse_nested
from autotune.transfer import targets
from autotune.transfer.base import Route
from autotune.transfer.targets import Target

_SIZES = {"steps", "batch size"}  # what a validation may change of a task


def run(
    asked: Asked, storage: str | None, *, listen: Listener, halt: threading.Event
) -> Validation:
    """Validate until the budget is spent or ``halt`` is set; the same call again goes on.

    Raises:
        NotFound: There is no such search.
        SpecError: It is not complete, or what is asked for cannot be run or paid.
        NothingUsable: Nothing was judged that could be validated.
        AlreadyThere: Another process runs or validates it.
    """
    with changeable(storage) as store:
        name, optimizer = split(asked.study)
        parent = current(store.search(name), store)
        spec = _spec(parent, asked, storage)
        found = comparison.load(store, parent.name)
        row = entrants.row_of(found, optimizer)
        trials = {s.optimizer: store.trials(s.id) for s in parent.studies}
        target = Target(batch=asked.batch, steps=asked.steps)
        if asked.batch is not None:  # saturating where an export for that batch would
            measured = noise.load(store, trials[row.optimizer], row.tuned.setting)
            target = replace(target, noise_scale=measured.scale if measured else None)
        way = targets.route(target, parent.task)
        plan = entrants.planned(asked, found, row, trials, way)
        spec = _sized(spec, plan, way, asked)
        costs = {name: cost(those, way.batch_ratio) for name, those in trials.items()}
        number = train(plan, spec, parent, costs, store, listen=listen, halt=halt)
        now = comparison.load(store, parent.name)
        return next(one for one in now.validations if one.number == number)


@contextmanager
def changeable(storage: str | None) -> Iterator[Store]:
    """Open the store of searches that there are; raises NotFound where there is none."""
    refuse_nested()
    if not there(storage):
        file = urls.file(urls.resolve(storage))
        raise NotFound(f"no searches: there is no database {file}; autotune search makes one")
    with Store(urls.resolve(storage)) as store:
        yield store


def train(
    plan: Plan,
    spec: SearchSpec,
    parent: SearchRecord,
    costs: Mapping[str, Cost],
    store: Store,
    *,
    listen: Listener,
    halt: threading.Event,
) -> int:
    """Train what a plan says until its budget is spent; return the validation's number.

    Args:
        plan: What to train, on seeds that are not yet chosen.
        spec: The spec of the stage.
        parent: The search.
        costs: What a run takes, by optimizer, at the pace of the search.
        store: Where everything is stored.
        listen: Called with every event.
        halt: Set to stop early.

    Raises:
        SpecError: The budget pays for no pair, or this machine cannot run it as the search was run.
        AlreadyThere: Another process runs or validates the search.
    """
    with devices.only(spec.device) as device:
        spec = spec.model_copy(update={"device": device})
        _check_budget(spec, plan, costs)
        from_spec.ready(spec)
        facts = facts_of(spec, parent)
        if changed := [what for what in changed_facts(parent.task, facts) if what not in _SIZES]:
            raise SpecError(
                f"search '{parent.name}' cannot be validated here: another {', '.join(changed)} "
                "than it was run with"
            )
        with exclusive(folder_of(store.url, parent.name), parent.name):
            record = _record(store, parent, plan, spec, facts)
            if not _finished(record, spec):
                for text in plan.doubts:
                    listen(Notice(text=text))
                _work(record, spec, facts, costs, store, listen=listen, halt=halt)
        return record.number


def spec_of(parent: SearchRecord, storage: str | None, what: str = "validated") -> SearchSpec:
    """Return the spec of a search whose settings can be trained again; raises SpecError."""
    spec = parse(dict(parent.spec))
    refuse_asked(spec)
    if spec.engine == SIMULATED:
        raise SpecError(
            f"search '{parent.name}' was read from a table, not trained: there is nothing to "
            "train for longer"
        )
    if parent.state is not SearchState.COMPLETE:
        raise SpecError(
            f"search '{parent.name}' is {parent.state}: only a complete one can be {what}; go "
            f"on with it by: {resume_command(parent.name, storage)}"
        )
    return spec


def _spec(parent: SearchRecord, asked: Asked, storage: str | None) -> SearchSpec:
    """Return the spec of a search that can be validated, with what is asked for."""
    spec = spec_of(parent, storage)
    if asked.settings and asked.settings < entrants.FEWEST:
        raise SpecError(
            f"settings to rank must be at least {entrants.FEWEST}, got {asked.settings}"
        )
    return with_changes(spec, seeds=asked.seeds, workers=asked.workers, model=asked.model)


def with_changes(spec: SearchSpec, **changes: Any) -> SearchSpec:
    """Return a spec with other values, where these are not None; raises SpecError."""
    most = validating.BLOCK // validating.MORE_SEEDS  # beyond, the next validation's seeds begin
    if (changes.get("seeds") or 0) > most:
        raise SpecError(f"seeds must be at most {most}, got {changes['seeds']}")
    kept = {key: value for key, value in changes.items() if value is not None}
    return parse({**spec.model_dump(), **kept})


def _sized(spec: SearchSpec, plan: Plan, way: Route, asked: Asked) -> SearchSpec:
    """Return the spec of a validation's stage."""
    runs = asked.runs
    if runs is None and asked.minutes is None:
        runs = len(validating.pair(plan)) * spec.seeds + asked.settings
    budget = limits(runs, asked.minutes)
    batch = {"batch_size": way.batch[1]} if way.batch and way.batch_ratio != 1 else {}
    own = dict.fromkeys(each.optimizer for each in plan.entrants)
    sizes = {"steps": plan.steps, **batch, "optimizers": tuple(own), "space": {}}
    sizes["try_first"] = ()
    return spec.model_copy(update={**sizes, "budget": budget})


def cost(trials: Sequence[TrialRecord], batch_ratio: float = 1.0) -> Cost:
    """Return what a run takes at the search's pace; a step takes longer with a larger batch."""
    done = [t.seconds / t.step for t in trials if t.state is TrialState.COMPLETE and t.step]
    return Cost(step=median(done) * max(1.0, batch_ratio) if done else 0.0)


def _check_budget(spec: SearchSpec, plan: Plan, costs: Mapping[str, Cost]) -> None:
    """Raise SpecError where the budget pays for no pair: all that one seed is useless without."""
    together = validating.pair(plan)
    who = ", ".join(each.key.partition(",")[0] for each in together)
    runs, minutes = spec.budget.runs, spec.budget.minutes
    if runs is not None and runs < len(together):
        raise SpecError(
            f"runs must be at least {len(together)}, to run {who} on one seed, got {runs:g}"
        )
    seconds = [costs[each.optimizer].step * plan.steps for each in together]
    least = max(sum(seconds) / spec.workers, *seconds) * MARGIN
    if minutes is not None and minutes * 60 < least:
        raise SpecError(
            f"minutes must be at least {least / 60:.2g}, to run {who} on one seed at the search's "
            f"pace, got {minutes:g}; raise it or give fewer steps"
        )


def _record(
    store: Store,
    parent: SearchRecord,
    plan: Plan,
    spec: SearchSpec,
    facts: Mapping[str, Any],
) -> ValidationRecord:
    """Return the stored validation that has this plan, or store a new one."""
    for known in validations.of(store, parent.id):
        if _same(known.plan, plan):
            return known
    number = validations.following(store, parent.id)
    plan = replace(plan, first_seed=validating.first_seed(number))
    return validations.begin(store, parent, number, plan, spec.model_dump(mode="json"), facts)


def _same(one: Plan, other: Plan) -> bool:
    """Return whether two plans run the same, on whatever seeds."""
    plain = (replace(each, first_seed=0, doubts=()).as_data() for each in (one, other))
    first, second = (json.loads(json.dumps(data)) for data in plain)
    return bool(first == second)


def _finished(record: ValidationRecord, spec: SearchSpec) -> bool:
    old = parse(dict(record.stage.spec))
    same = (old.seeds, old.budget.resolved) == (spec.seeds, spec.budget.resolved)
    return same and record.stage.state is SearchState.COMPLETE


def _opened(
    record: ValidationRecord, spec: SearchSpec, facts: Mapping[str, Any], store: Store, worker: str
) -> Opened:
    """Return a validation's stage as it is stored, with what a killed process ran taken back."""
    stage = record.stage
    store.take_up(stage.id, store.failed(stage.id, most=TRIES))
    store.reap(stage.id, worker=worker, blame=False)
    store.update_search(stage.name, state=SearchState.RUNNING, spec=spec.model_dump(mode="json"))
    store.tell(stage.name, Command.CONTINUE)
    states = tuple(
        StudyState(
            study=study,
            policy=Policy.of(spec),
            space=spaces.from_data(study.space, optimizers.defaults(study.optimizer, study.space)),
            presets=(),
            ladder=rungs_of(facts),
        )
        for study in stage.studies
    )
    changes = store.changes(stage.id)
    merge(states, changes)
    return Opened(
        search=as_here(store.search(stage.name), facts),
        states=states,
        resumed=sum(len(state.trials) for state in states),
        finished=False,
        revision=changes.revision,
    )


def _work(
    record: ValidationRecord,
    spec: SearchSpec,
    facts: Mapping[str, Any],
    costs: Mapping[str, Cost],
    store: Store,
    *,
    listen: Listener,
    halt: threading.Event,
) -> None:
    folder, name = folder_of(store.url, record.stage.name), record.stage.name
    worker = coordinator(store.url, folder)
    with exclusive(folder, name), closing(from_spec.start(spec, facts)) as engine:
        opened = _opened(record, spec, facts, store, worker)
        if text := from_spec.notice(engine):
            listen(Notice(text=text))
        validator = Validator(
            record.plan, spec, store, opened, listen, halt, folder, worker=worker, costs=costs
        )
        Loop(validator).run(engine)
