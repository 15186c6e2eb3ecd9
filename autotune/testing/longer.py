"""A validation of the sample search, with given losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.results import comparison
from autotune.results.validation import Validation
from autotune.studies import validations
from autotune.studies.records import (
    Proposal,
    Role,
    SearchRecord,
    SearchState,
    StudyRecord,
    TrialState,
)
from autotune.studies.setting import Setting
from autotune.studies.store import Store
from autotune.studies.validations import Entrant, Plan
from autotune.testing import sample

STEPS = 5 * sample.STEPS
FIRST_SEED = 1000
_SETTING = Setting(params={}, hyper={"lr": 0.01}, warmup=0.1)
_BAD = "loss became NaN"

Ended = float | TrialState  # a loss, or how a run without one ended


def validated(
    store: Store,
    losses: Mapping[str, Sequence[Ended]],
    *,
    optimizer: str = "adan",
    rules: Sequence[tuple[str, ...]] = (("r",),),
    ranked: Sequence[tuple[float, Ended]] = (),
    state: SearchState = SearchState.COMPLETE,
) -> Validation:
    """Store a validation of the sample in runs five times as long; return it as it is read.

    Args:
        store: Where the sample is.
        losses: By seed, of "tuned", "default" and "adamw"; of several sets of rules, of "tuned 0"
            and so on.
        optimizer: Whose tuned setting it is about.
        rules: Sets of rules.
        ranked: Losses of settings to rank, in the search and in the longer run.
        state: Of its stage.
    """
    search = store.search(sample.NAME)
    source = (store.recommendation(study(search, optimizer).id) or {})["source"]
    entrants = _tuned(losses, optimizer, rules, source)
    if "default" in losses:
        entrants.append(_entrant("default", optimizer, which="default"))
    entrants += [
        _entrant(f"ranked {place}", optimizer, which="ranked", proxy=proxy)
        for place, (proxy, _) in enumerate(ranked)
    ]
    plan = Plan(
        optimizer=optimizer,
        source=source,
        times=5.0,
        steps=STEPS,
        batch_size=64,
        rules=tuple(rules),
        entrants=tuple(entrants),
        first_seed=FIRST_SEED,
    )
    number = validations.following(store, search.id)
    task = {**search.task, "steps": STEPS}
    record = validations.begin(store, search, number, plan, search.spec, task)
    longer = {f"ranked {place}": [long] for place, (_, long) in enumerate(ranked)}
    for each in entrants:
        for seed, loss in enumerate({**losses, **longer}[each.key]):
            ran(store, study(record.stage, each.optimizer).id, each, seed, loss)
    store.update_search(record.stage.name, state=state)
    return comparison.load(store, sample.NAME).validations[-1]


def study(search: SearchRecord, optimizer: str) -> StudyRecord:
    """Return the study of an optimizer."""
    return next(each for each in search.studies if each.optimizer == optimizer)


def ran(store: Store, study_id: int, each: Entrant, seed: int, loss: Ended) -> None:
    """Store a run of a setting on a seed, counted from 0."""
    proposal = Proposal(
        role=Role.VALIDATE,
        origin=each.key,
        setting=each.setting,
        seed=FIRST_SEED + seed,
        target=STEPS,
        source=each.source,
    )
    trial = store.add_trial(study_id, proposal)
    attempt = store.begin(trial.id, "sample")
    if isinstance(loss, TrialState):
        store.record(trial.id, attempt, state=loss, step=7, seconds=1.0, reason=_BAD)
    else:
        complete = TrialState.COMPLETE
        store.record(trial.id, attempt, state=complete, step=STEPS, loss=loss, seconds=1.0)


def _tuned(
    losses: Mapping[str, object], optimizer: str, rules: Sequence[tuple[str, ...]], source: int
) -> list[Entrant]:
    found = []
    for place, names in enumerate(rules):
        key = f"tuned {place}" if len(rules) > 1 else "tuned"
        found.append(_entrant(key, optimizer, rules=names, source=source))
        if "adamw" in losses:
            found.append(_entrant("adamw", "adamw", rules=names, source=source))
    return found


def _entrant(
    key: str,
    optimizer: str,
    *,
    which: str = "tuned",
    source: int = 0,
    rules: tuple[str, ...] | None = None,
    proxy: float | None = None,
) -> Entrant:
    return Entrant(
        key=key,
        optimizer=optimizer,
        which=which,
        source=source,
        setting=_SETTING,
        rules=rules,
        proxy=proxy,
    )
