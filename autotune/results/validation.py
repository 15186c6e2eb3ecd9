"""What became of a tuned setting in longer runs: does what the search found hold there?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from autotune.results.agreement import Agreement, agreement
from autotune.results.intervals import CONFIDENCE, Estimate, estimate, paired, verdict
from autotune.results.learning import nothing_learned
from autotune.scheduler.validating import ENOUGH, RANKED, losses
from autotune.studies.records import SearchRecord, SearchState, TrialRecord, TrialState
from autotune.studies.setting import Setting
from autotune.studies.store import Store
from autotune.studies.validations import Entrant, ValidationRecord

if TYPE_CHECKING:
    from autotune.results.comparison import Row

NOT_TRIED = "not tried in a longer run"
_BAD = (TrialState.DIVERGED, TrialState.FAILED)


class Holding(StrEnum):
    """Whether what a search found holds in longer runs."""

    HOLDS = "holds"
    LOST = "does not hold"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Longer:
    """A setting and its results in the longer runs.

    Args:
        optimizer: Its optimizer.
        which: "tuned" or "default".
        rules: What restated it; None where it is as it was found.
        setting: As the longer runs had it.
        losses: Validation loss by seed index.
        loss: Their mean; None until a run has ended.
        accuracy: Mean accuracy, where it is measured.
        failures: Why runs have no loss.
        diverged: Whether one of them diverged, which is a result and no fault.
    """

    optimizer: str
    which: str
    rules: tuple[str, ...] | None
    setting: Setting = field(metadata={"printed": ("hyper", "warmup")})
    losses: Mapping[int, float]
    loss: Estimate | None
    accuracy: float | None = None
    failures: tuple[str, ...] = ()
    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What may be concluded of the tuned setting by one set of rules.

    Args:
        rules: The set.
        holding: Whether what the search found holds.
        default: Tuned less default, paired by seed; None where they share none.
        reference: Tuned less tuned AdamW, restated by the same rules, likewise.
        verdict: All of it as a sentence.
    """

    rules: tuple[str, ...]
    holding: Holding
    default: Estimate | None
    reference: Estimate | None
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A validation of a search, as far as it went.

    Args:
        number: From 1, within its search.
        search: The search's name.
        optimizer: Whose tuned setting it is about.
        source: Number of the search trial that first ran that setting.
        latest: Whether the search still recommends that setting.
        times: How many times as long its runs are.
        steps: Steps of a run.
        batch_size: Samples of a batch; None: not known.
        complete: Whether it reached the end of its budget.
        runs: Runs of that length that were spent.
        settings: Results, in the order in which they run.
        outcomes: By sets of rules, in the order in which these were given.
        agreement: How the order of settings agrees with the search's, where that was asked for.
        doubts: What the rules warned of.
    """

    number: int
    search: str
    optimizer: str
    source: int
    latest: bool
    times: float
    steps: int
    batch_size: int | None
    complete: bool
    runs: float
    settings: tuple[Longer, ...]
    outcomes: tuple[Outcome, ...]
    agreement: Agreement | None
    doubts: tuple[str, ...]

    @property
    def holding(self) -> Holding:
        """Whether what the search found holds by any of the sets of rules."""
        each = {outcome.holding for outcome in self.outcomes}
        order = (Holding.HOLDS, Holding.UNKNOWN)
        return next((one for one in order if one in each), Holding.LOST)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything that may be concluded."""
        said = [outcome.verdict for outcome in self.outcomes]
        if self.agreement is not None:
            said.append(f"{self.optimizer}, {self.agreement}")
        marks = [] if self.complete else ["not finished"]
        marks += [] if self.latest else [f"of an earlier setting, trial {self.source}"]
        mark = f" ({'; '.join(marks)})" if marks else ""
        return tuple(text + mark for text in said)


def load(
    store: Store,
    search: SearchRecord,
    known: Iterable[ValidationRecord],
    rows: Sequence[Row],
    recommended: Mapping[str, int],
) -> tuple[Validation, ...]:
    """Return what became of the validations of a search, in their order.

    Args:
        store: Where they are stored.
        search: The search.
        known: All validations that are stored of it; those of refined schedules are left out.
        rows: Its optimizers.
        recommended: As ``sources`` returns it.
    """
    plain = [one for one in known if one.plan.refined is None]
    return tuple(_loaded(store, one, search.name, rows, recommended) for one in plain)


def _loaded(
    store: Store,
    record: ValidationRecord,
    search: str,
    rows: Sequence[Row],
    recommended: Mapping[str, int],
) -> Validation:
    plan, stage = record.plan, record.stage
    trials = [trial for study in stage.studies for trial in store.trials(study.id)]
    settings = {each.key: longer(each, trials) for each in plan.entrants if each.which != RANKED}
    row = next(row for row in rows if row.optimizer == plan.optimizer)
    known = _Known(
        row=row,
        settings=tuple(settings.values()),
        task=stage.task,
        times=plan.times,
        firsts=_firsts(trials, store.first_losses(stage.id)),
        complete=stage.state is SearchState.COMPLETE,
    )
    return Validation(
        number=record.number,
        search=search,
        optimizer=plan.optimizer,
        source=plan.source,
        latest=recommended.get(plan.optimizer) == plan.source,
        times=plan.times,
        steps=plan.steps,
        batch_size=plan.batch_size,
        complete=stage.state is SearchState.COMPLETE,
        runs=sum(trial.step / trial.target for trial in trials),
        settings=known.settings,
        outcomes=tuple(_outcome(rules, known, len(plan.rules)) for rules in plan.rules),
        agreement=_agreement(plan.entrants, trials, plan.first_seed),
        doubts=plan.doubts,
    )


def _firsts(trials: Iterable[TrialRecord], firsts: Mapping[int, float]) -> dict[int, float]:
    """Return training losses before the first update by seed: they are of equal weights."""
    return {trial.seed: firsts[trial.id] for trial in trials if trial.id in firsts}


def sources(store: Store, search: SearchRecord) -> dict[str, int]:
    """Return the numbers of the search trials whose settings are recommended, by optimizer."""
    found = {study.optimizer: store.recommendation(study.id) for study in search.studies}
    return {
        optimizer: int(one["source"])
        for optimizer, one in found.items()
        if one and one["source"] is not None
    }


def longer(entrant: Entrant, trials: Iterable[TrialRecord]) -> Longer:
    """Return a setting with the results of its runs among some."""
    own = [trial for trial in trials if trial.origin == entrant.key]
    done = [t for t in own if t.state is TrialState.COMPLETE]
    found = {trial.seed: trial.loss for trial in done if trial.loss is not None}
    right = [trial.accuracy for trial in done if trial.accuracy is not None]
    return Longer(
        optimizer=entrant.optimizer,
        which=entrant.which,
        rules=entrant.rules,
        setting=entrant.setting,
        losses=found,
        loss=estimate(list(found.values())) if found else None,
        accuracy=math.fsum(right) / len(right) if right else None,
        failures=tuple(t.reason or t.state for t in own if t.state in _BAD),
        diverged=any(t.state is TrialState.DIVERGED for t in own),
    )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What outcomes are drawn from."""

    row: Row
    settings: tuple[Longer, ...]
    task: Mapping[str, Any]
    times: float
    firsts: Mapping[int, float]
    complete: bool

    def tuned(self, optimizer: str, rules: tuple[str, ...]) -> Longer | None:
        found = (s for s in self.settings if s.optimizer == optimizer and s.rules == rules)
        return next(found, None)

    def default(self) -> Longer | None:
        return next((s for s in self.settings if s.which == "default"), None)

    def reference(self, rules: tuple[str, ...]) -> Longer | None:
        others = (s for s in self.settings if s.optimizer != self.row.optimizer)
        return next((s for s in others if s.rules == rules), None)


def _outcome(rules: tuple[str, ...], known: _Known, sets: int) -> Outcome:
    """Return what may be concluded by one of several sets of rules."""
    tuned, row = known.tuned(known.row.optimizer, rules), known.row
    if tuned is None:
        raise ValueError(f"a validation has no setting by {rules}")
    ours, sure = f"tuned {row.optimizer}", 1 - (1 - CONFIDENCE) / sets
    default, reference = known.default(), known.reference(rules)
    found: list[tuple[Holding, str]] = []
    if default is not None:
        found.append(_against(tuned, default, (ours, row.default.called), sure))
    if reference is not None:
        holding, said = _against(tuned, reference, (ours, "tuned adamw"), sure)
        claimed = row.against_reference is not None and (row.against_reference.high or 0.0) < 0
        # An advantage that the search did not claim need not be there.
        free = holding is Holding.UNKNOWN and default is not None and not claimed
        found.append((Holding.HOLDS if free else holding, said))
    holding = _all(each for each, _ in found)
    if level := _unlearned(tuned, known):
        holding, found = Holding.UNKNOWN, [(Holding.UNKNOWN, level)]
    said = "; ".join(dict.fromkeys([*(text for _, text in found), *_left(tuned, known)]))
    by = "+".join(rules) or "no rule"
    return Outcome(
        rules=rules,
        holding=holding,
        default=_difference(tuned, default, sure),
        reference=_difference(tuned, reference, sure),
        verdict=f"{row.optimizer} {holding} at {known.times:.4g}x (by {by}): {said}",
    )


def _left(tuned: Longer, known: _Known) -> Iterator[str]:
    """Yield why a setting ran on fewer seeds than by another set of rules."""
    rivals = [
        each
        for each in known.settings
        if each.optimizer == tuned.optimizer and each.which == tuned.which
    ]
    most = max((len(each.losses) for each in rivals), default=0)
    ran = len(tuned.losses)
    if known.complete and ENOUGH <= ran < most and not tuned.failures:
        yield f"it left the race after {ran} seeds, clearly behind another set of rules"


def _all(found: Iterable[Holding]) -> Holding:
    each = set(found)
    order = (Holding.LOST, Holding.UNKNOWN)
    return next((one for one in order if one in each), Holding.HOLDS)


def _unlearned(tuned: Longer, known: _Known) -> str | None:
    level = nothing_learned(tuned.losses, known.firsts, tuned.accuracy, known.task)
    if level is None or tuned.loss is None:
        return None
    return f"nothing was learned: its loss of {tuned.loss.mean:.4g} is not clearly below {level}"


def _difference(tuned: Longer, rival: Longer | None, sure: float) -> Estimate | None:
    return None if rival is None else paired(tuned.losses, rival.losses, sure)


def _against(
    tuned: Longer, rival: Longer, names: tuple[str, str], sure: float
) -> tuple[Holding, str]:
    """Return whether a tuned setting is better than a rival, and the sentence that says so."""
    ours, theirs = names
    if tuned.failures:
        ran = len(tuned.failures) + len(tuned.losses)
        said = f"{ours} failed on {len(tuned.failures)} of {ran} seeds ({tuned.failures[0]})"
        return Holding.LOST if tuned.diverged and rival.losses else Holding.UNKNOWN, said
    if rival.failures and not rival.losses and len(tuned.losses) > 1:
        said = f"{ours} trains where {theirs} did not ({rival.failures[0]})"
        return Holding.HOLDS if rival.diverged else Holding.UNKNOWN, said
    if not tuned.losses or not rival.losses:
        return Holding.UNKNOWN, f"{ours if not tuned.losses else theirs} was not run yet"
    difference = paired(tuned.losses, rival.losses, sure)
    several = difference is not None and difference.n > 1
    if several and all(len(set(one.losses.values())) == 1 for one in (tuned, rival)):
        return Holding.UNKNOWN, f"{ours} and {theirs} have the same loss on every seed"
    return _sign(difference), verdict(difference, ours, theirs, sure)


def _sign(difference: Estimate | None) -> Holding:
    if difference is None or difference.low is None or difference.high is None:
        return Holding.UNKNOWN
    if difference.high < 0:
        return Holding.HOLDS
    return Holding.LOST if difference.low > 0 else Holding.UNKNOWN


def _agreement(
    entrants: Sequence[Entrant], trials: Sequence[TrialRecord], seed: int
) -> Agreement | None:
    """Return how the order of the ranked settings agrees with the search's, as far as they ran."""
    found = losses(trials)
    pairs = [
        (each.proxy, found[each.key][seed])
        for each in entrants
        if each.which == RANKED and each.proxy is not None and seed in found.get(each.key, {})
    ]
    return agreement([one for one, _ in pairs], [other for _, other in pairs])
