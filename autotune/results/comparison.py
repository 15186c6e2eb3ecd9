"""The result of a search: each optimizer's default and tuned setting on the same fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from autotune.results import reach, refinement, validation
from autotune.results.intervals import CONFIDENCE, Estimate, estimate, paired, verdict
from autotune.results.learning import nothing_learned
from autotune.results.phrases import either, few
from autotune.results.refinement import Refinement
from autotune.results.validation import Validation
from autotune.scheduler.fairness import Effort, effort
from autotune.studies import validations
from autotune.studies.earlier import added, unequal
from autotune.studies.records import (
    Role,
    SearchRecord,
    StudyRecord,
    TrialRecord,
    TrialState,
    mixed,
)
from autotune.studies.setting import Setting
from autotune.studies.store import Store

REFERENCE = "adamw"  # the optimizer that a winner has to beat

AUTHORS = "authors"  # origin of a reference that the optimizer's authors recommend

_BAD = (TrialState.DIVERGED, TrialState.FAILED)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A setting and its results on the judging seeds."""

    origin: str
    setting: Setting = field(metadata={"printed": ("hyper", "warmup")})  # no coordinates
    losses: Mapping[int, float]  # validation loss by seed index
    loss: Estimate | None  # None until a judging run has ended
    accuracy: Estimate | None
    failures: tuple[str, ...] = ()  # why judging runs have no loss

    @property
    def word(self) -> str:
        """Return what a reference is called in a table: "default" or "authors'"."""
        return "authors'" if self.origin.startswith(AUTHORS) else "default"

    @property
    def called(self) -> str:
        """Return what a reference is called in a sentence, the authors' with its numbers."""
        if not self.origin.startswith(AUTHORS):
            return "its default"
        moved = ", moved into the space" if "moved" in self.origin else ""
        hyper = self.setting.hyper
        known = {"lr": hyper.get("lr"), "weight decay": hyper.get("weight_decay")}
        numbers = ", ".join(
            f"{name} {value:g}" for name, value in known.items() if value is not None
        )
        return f"the authors' recommended setting{moved} ({numbers})"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One optimizer of a search."""

    optimizer: str
    default: Contender
    tuned: Contender
    changed: bool  # whether the tuned setting differs from the default
    difference: Estimate | None  # tuned - default, paired by seed
    verdict: str
    against_reference: Estimate | None  # tuned - tuned AdamW; None for AdamW itself or without it
    reference_verdict: str | None
    runs: float  # full runs spent in all stages
    trials: int
    diverged: int
    failed: int
    nothing_learned: str | None = None  # a sentence, where the tuned setting learned nothing
    unseeded: str | None = None  # a sentence, where seeds or settings make no difference
    searched: Effort = field(default_factory=Effort)  # without it, rows cannot be compared


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The optimizers of one search, lowest tuned mean first."""

    search: SearchRecord
    rows: tuple[Row, ...]
    verdict: str
    validations: tuple[Validation, ...] = ()  # what became of it in longer runs
    refinements: tuple[Refinement, ...] = ()  # what became of it by refined schedules

    @property
    def tried(self) -> str:
        """What was tried for each optimizer, to read beside every verdict; empty before that."""
        each = [f"{row.optimizer} {row.searched}" for row in self.rows if row.searched.settings]
        return f"tried: {few(each, '; ')}" if each else ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything that may be concluded, the most important first; none twice."""
        each = [text for row in self.rows for text in (row.verdict, row.reference_verdict) if text]
        refined = [text for one in self.refinements for text in one.sentences]
        said = [self.verdict, *self.beside, *each, *self.longer, *refined]
        return tuple(dict.fromkeys(said))

    @property
    def longer(self) -> tuple[str, ...]:
        """What became of tuned settings in longer runs, a sentence each; empty: not tried."""
        return tuple(text for one in self.validations for text in one.sentences)

    @property
    def mixed(self) -> str:
        """A sentence if losses come from different kinds of devices; else empty."""
        return mixed(self.search.task)

    @property
    def unequal(self) -> str:
        """A sentence if not all optimizers began with as many settings known from elsewhere."""
        return unequal(self.search.spec)

    @property
    def beside(self) -> tuple[str, ...]:
        """What has to be read beside every verdict: losses of several kinds, unequal knowledge."""
        said = (self.mixed, self.unequal, added(self.search.studies))
        return tuple(text for text in said if text)


def load(store: Store, name: str) -> Comparison:
    """Return the comparison of a stored search; raises NotFound."""
    search = store.search(name)
    return of(store, search, {study.optimizer: store.trials(study.id) for study in search.studies})


def of(
    store: Store, search: SearchRecord, trials: Mapping[str, Sequence[TrialRecord]]
) -> Comparison:
    """Return the comparison of a stored search whose trials, by optimizer, are known."""
    chosen, known = validation.sources(store, search), validations.of(store, search.id)
    found = compare(search, trials, chosen, store.first_losses(search.id))
    return replace(
        found,
        validations=validation.load(store, search, known, found.rows, chosen),
        refinements=refinement.drawn(store, search, known, chosen),
    )


def compare(
    search: SearchRecord,
    trials: Mapping[str, Sequence[TrialRecord]],
    chosen: Mapping[str, int],
    firsts: Mapping[int, float] = MappingProxyType({}),
) -> Comparison:
    """Compare the optimizers of a search (a pure function).

    Args:
        search: The search.
        trials: All trials by optimizer.
        chosen: Number of the recommended search trial by optimizer; missing until decided.
        firsts: Training losses before the first update, by trial id, where known.
    """
    # What was measured elsewhere speaks for no setting, and cost nothing here.
    trials = {name: [t for t in own if t.role is not Role.ADDED] for name, own in trials.items()}
    pairs = {
        s.optimizer: _contenders(trials[s.optimizer], chosen.get(s.optimizer))
        for s in search.studies
    }
    budget = search.spec.get("budget") or {}
    efforts = {
        s.optimizer: effort(trials[s.optimizer], search.task, budget) for s in search.studies
    }
    before = (firsts, search.task)
    rows = [
        _row(s, trials[s.optimizer], pairs[s.optimizer], efforts[s.optimizer], before)
        for s in search.studies
    ]
    rows = [_against(row, rows) for row in rows]
    rows.sort(key=_rank)
    return Comparison(search=search, rows=tuple(rows), verdict=_overall(rows))


def _unlearned(
    name: str,
    tuned: Contender,
    trials: Sequence[TrialRecord],
    firsts: Mapping[int, float],
    task: Mapping[str, Any],
) -> str | None:
    """Return a sentence if an optimizer's tuned setting learned nothing."""
    began = {t.seed: firsts[t.id] for t in trials if t.role is Role.JUDGE and t.id in firsts}
    right = tuned.accuracy.mean if tuned.accuracy else None
    level = nothing_learned(tuned.losses, began, right, task)
    if level is None or tuned.loss is None:
        return None
    loss = f"its loss of {tuned.loss.mean:.4g}"
    return f"nothing was learned with {name}: {loss} is not clearly below {level}"


def _unseeded(name: str, pair: tuple[Contender, Contender]) -> str | None:
    """Return a sentence if seeds made no difference to any judged setting of an optimizer.

    Its intervals have no width then, which would pass for certainty.
    """
    if any(len(one.losses) < 2 or len(set(one.losses.values())) > 1 for one in pair):
        return None
    return (
        f"{name} has the same loss on every seed, so nothing can be concluded: let the training's "
        "weights and batches follow the seed that it is given"
    )


def _rank(row: Row) -> tuple[bool, bool, float]:
    """Order by mean, those with a failed judging run last: their mean leaves that run out."""
    return bool(row.tuned.failures), row.nothing_learned is not None, _mean(row)


def _mean(row: Row) -> float:
    return row.tuned.loss.mean if row.tuned.loss else math.inf


def _contenders(trials: Sequence[TrialRecord], chosen: int | None) -> tuple[Contender, Contender]:
    judged = [trial for trial in trials if trial.role is Role.JUDGE]
    if chosen is None:
        chosen = max((trial.source or 0 for trial in judged), default=0)
    default = [trial for trial in judged if trial.source == 0]
    tuned = [trial for trial in judged if trial.source == chosen]
    return _contender(default, trials), _contender(tuned, trials)


def _contender(judged: Sequence[TrialRecord], trials: Sequence[TrialRecord]) -> Contender:
    done = [t for t in judged if t.state is TrialState.COMPLETE and t.loss is not None]
    losses = {trial.seed: trial.loss for trial in done if trial.loss is not None}
    accuracies = [trial.accuracy for trial in done if trial.accuracy is not None]
    example = judged[0] if judged else (trials[0] if trials else None)
    return Contender(
        origin=_origin(example, trials),
        setting=example.setting if example else Setting(params={}, hyper={}, warmup=0.0),
        losses=losses,
        loss=estimate(list(losses.values())) if losses else None,
        accuracy=estimate(accuracies) if accuracies else None,
        failures=tuple(t.reason or t.state for t in judged if t.state in _BAD),
    )


def _origin(example: TrialRecord | None, trials: Sequence[TrialRecord]) -> str:
    """Return what first proposed the setting, not the stage that ran it again."""
    by_number = {trial.number: trial.origin for trial in trials if trial.role is Role.SEARCH}
    if example is None or not example.source:
        return by_number.get(0, "default").removeprefix("preset:")
    return f"trial {example.source} ({by_number.get(example.source, 'unknown')})"


def _row(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    pair: tuple[Contender, Contender],
    searched: Effort,
    before: tuple[Mapping[int, float], Mapping[str, Any]],
) -> Row:
    default, tuned = pair
    unlearned = _unlearned(study.optimizer, tuned, trials, *before)
    changed = not tuned.setting.trains_like(default.setting)
    difference = paired(tuned.losses, default.losses) if changed else None
    name = study.optimizer
    unreached = reach.unreached(name, trials)
    unseeded = unreached or _unseeded(name, pair)
    return Row(
        optimizer=name,
        default=default,
        tuned=tuned,
        changed=changed,
        difference=difference,
        verdict=(
            unlearned
            or unreached
            or (changed and unseeded)
            or _tuning_verdict(name, pair, difference, changed)
        )
        if tuned.losses
        else f"{name} was not judged: {_obstacle(tuned, trials)}",
        against_reference=None,
        reference_verdict=None,
        runs=sum(trial.step / trial.target for trial in trials),
        trials=len(trials),
        diverged=sum(trial.state is TrialState.DIVERGED for trial in trials),
        failed=sum(trial.state is TrialState.FAILED for trial in trials),
        nothing_learned=unlearned,
        unseeded=unseeded,
        searched=searched,
    )


def _against(row: Row, rows: Sequence[Row]) -> Row:
    """Return a row with its comparison with the reference, if that is another optimizer."""
    rival = next((one for one in rows if one.optimizer == REFERENCE), None)
    if rival is None or rival is row:
        return row
    against = paired(row.tuned.losses, rival.tuned.losses)
    void = row.nothing_learned or (row.unseeded and rival.unseeded)
    said = None if void else _reference_verdict(row, rival, against)
    return replace(row, against_reference=against, reference_verdict=said)


def _tuning_verdict(
    name: str, pair: tuple[Contender, Contender], difference: Estimate | None, changed: bool
) -> str:
    default, tuned = pair
    if tuned.failures:
        return f"{_unreliable(name, tuned)}, so it is not better than {default.called}"
    if not changed:
        return f"tuning {name} found nothing better than {default.called}"
    if not default.losses:
        reason = default.failures[0] if default.failures else "it was not run"
        return f"tuned {name} trains where {default.called} did not ({reason})"
    return verdict(difference, f"tuned {name}", default.called)


def _obstacle(tuned: Contender, trials: Sequence[TrialRecord]) -> str:
    reasons = [*tuned.failures, *(t.reason for t in trials if t.state in _BAD and t.reason)]
    return reasons[0] if reasons else "no run yet"


def _reference_verdict(row: Row, rival: Row, against: Estimate | None) -> str:
    name, tuned = row.optimizer, row.tuned
    if tuned.failures:
        return f"{_unreliable(name, tuned)}, so it is not better than tuned adamw"
    apart = _clearly_worse(against) or (against is not None and (against.high or 0.0) < 0)
    if apart and not row.searched.like(rival.searched):
        return (
            f"tuned {name} and tuned adamw differ, but so did their searches: "
            f"{_efforts(row, [rival])}"
        )
    return verdict(against, f"tuned {name}", "tuned adamw")


def _efforts(row: Row, others: Sequence[Row]) -> str:
    return ", ".join(f"{one.optimizer} {one.searched}" for one in (row, *others))


def _unreliable(name: str, tuned: Contender) -> str:
    ran = len(tuned.failures) + len(tuned.losses)
    return f"tuned {name} failed on {len(tuned.failures)} of {ran} seeds ({tuned.failures[0]})"


def _overall(rows: Sequence[Row]) -> str:
    judged = [row for row in rows if row.tuned.loss]
    if not judged:
        return "nothing was judged yet"
    best = judged[0]
    if all(row.nothing_learned for row in judged) and len(judged) > 1:
        return f"nothing was learned with {either([row.optimizer for row in judged])}"
    if len(judged) == 1 or best.tuned.failures or best.nothing_learned:
        return best.verdict
    void = _void(best, judged)
    if void:
        return void
    # The best of several is picked, so each comparison needs a higher confidence (Bonferroni).
    sure = 1 - (1 - CONFIDENCE) / (len(judged) - 1)
    others = [row for row in judged[1:] if not row.tuned.failures]
    level = [
        row
        for row in others
        if not _clearly_worse(paired(row.tuned.losses, best.tuned.losses, sure))
    ]
    unlike = [row for row in others if row not in level and not row.searched.like(best.searched)]
    if not level and not unlike:
        return f"{best.optimizer} has the lowest loss, significantly below every other optimizer"
    said = f"{best.optimizer} has the lowest mean"
    if level:
        said += f", not significantly below {few([row.optimizer for row in level])}"
    if unlike:
        names = few([row.optimizer for row in unlike])
        said += f"; nothing follows for {names}, searched unlike it: {_efforts(best, unlike)}"
    return said


def _void(best: Row, judged: Sequence[Row]) -> str | None:
    """Return a sentence if the first of a ranking is no winner, however far others are above."""
    if best.unseeded and all(row.unseeded for row in judged):
        return best.unseeded
    lower = [row.optimizer for row in judged if row.nothing_learned and _mean(row) < _mean(best)]
    if not lower:
        return None
    return (
        f"no optimizer is best: {few(lower)} learned nothing, and the mean of {best.optimizer} is "
        "higher still"
    )


def _clearly_worse(difference: Estimate | None) -> bool:
    return difference is not None and difference.low is not None and difference.low > 0
