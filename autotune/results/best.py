"""The best settings of one optimizer, for those who go on with them elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from autotune.errors import NothingUsable
from autotune.results import comparison
from autotune.results.chosen import Chosen, judged_of, row_of
from autotune.results.comparison import Row
from autotune.results.intervals import estimate
from autotune.results.tuned import Tuned, recorded, study_of
from autotune.studies.records import Role, SearchRecord, TrialRecord, TrialState
from autotune.studies.store import Store


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One of the best settings.

    Args:
        rank: From 1.
        stage: The last stage that it took part in: "search", "select" or "judge".
        losses: Validation loss after a full run, by seed index.
        record: The setting with its evidence.
    """

    rank: int
    stage: str
    losses: dict[int, float]
    record: Tuned


def best(store: Store, search: str, optimizer: str | None, count: int) -> tuple[Ranked, ...]:
    """Return the best settings of an optimizer, the recommended one first.

    The others follow by their loss on the seed of the search, which every setting was trained on;
    only settings that reached the last step take part, and none comes twice.

    Args:
        store: Where the search is stored.
        search: Its name.
        optimizer: One of its optimizers; None takes the one with the lowest tuned mean.
        count: How many to return; fewer where the search has fewer.

    Raises:
        NotFound: There is no such search or optimizer.
        NothingUsable: No setting of the optimizer reached its last step.
    """
    found = comparison.load(store, search)
    row = row_of(found, optimizer)
    trials = store.trials(study_of(found, row).id)
    chosen = _distinct(_ordered(found.search, row, trials))[:count]
    if not chosen:
        raise NothingUsable(
            f"no setting of {row.optimizer} in search '{search}' was run to its last step; "
            "continue the search"
        )
    return tuple(
        Ranked(
            rank=rank,
            stage=_stage(one, trials),
            losses=_losses(one, trials),
            record=recorded(store, found, row, one, trials),
        )
        for rank, one in enumerate(chosen, 1)
    )


def _ordered(search: SearchRecord, row: Row, trials: Sequence[TrialRecord]) -> Iterator[Chosen]:
    """Yield the setting that was judged, then those that the search ran to their end."""
    if row.tuned.losses:
        yield judged_of(search, row, "tuned", trials)
    order = whole(trials)
    for place, trial in enumerate(order, 1):
        if trial.number == 0 and row.default.losses:
            yield judged_of(search, row, "default", trials)
        else:
            yield _unjudged(trial, trials, f"place {place} of {len(order)}")


def whole(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the search trials that ran to their end, the lowest loss first."""
    done = [t for t in trials if t.role is Role.SEARCH and t.state is TrialState.COMPLETE]
    ranked = [(t.loss, t.number, t) for t in done if t.loss is not None]
    return [trial for _, _, trial in sorted(ranked)]


def _unjudged(trial: TrialRecord, trials: Sequence[TrialRecord], place: str) -> Chosen:
    runs = _runs(trial.number, trials, (Role.SEARCH, Role.SELECT))
    right = [run.accuracy for run in runs if run.accuracy is not None]
    return Chosen(
        setting=trial.setting,
        number=trial.number,
        origin=f"trial {trial.number} ({trial.origin})",
        losses={run.seed: run.loss for run in runs if run.loss is not None},
        accuracy=estimate(right) if right else None,
        difference=None,
        verdict=f"{place} on the seed that it was chosen by; not judged",
    )


def _distinct(found: Iterable[Chosen]) -> list[Chosen]:
    """Return settings without those that train as an earlier one does."""
    kept: list[Chosen] = []
    for one in found:
        if not any(one.setting.trains_like(other.setting) for other in kept):
            kept.append(one)
    return kept


def _runs(
    number: int | None, trials: Sequence[TrialRecord], roles: Sequence[Role]
) -> list[TrialRecord]:
    """Return the full runs of a setting, by the number of its search trial."""
    done = [t for t in trials if t.role in roles and t.state is TrialState.COMPLETE]
    return [t for t in done if number == (t.number if t.role is Role.SEARCH else t.source)]


def _losses(one: Chosen, trials: Sequence[TrialRecord]) -> dict[int, float]:
    runs = _runs(one.number, trials, (Role.SEARCH, Role.SELECT, Role.JUDGE))
    known = {run.seed: run.loss for run in runs if run.loss is not None}
    return dict(sorted(known.items()))


def _stage(one: Chosen, trials: Sequence[TrialRecord]) -> str:
    reached = {run.role for run in _runs(one.number, trials, tuple(Role))}
    return next(role.value for role in (Role.JUDGE, Role.SELECT, Role.SEARCH) if role in reached)
