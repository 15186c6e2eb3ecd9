"""Choose a setting of a comparison, with the runs that support it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.errors import NotFound, NothingUsable, SpecError
from autotune.registry import check_installed, unknown
from autotune.results.comparison import Comparison, Contender, Row
from autotune.results.intervals import Estimate, estimate
from autotune.studies.records import Role, SearchRecord, TrialRecord, TrialState
from autotune.studies.setting import Setting


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A setting and the runs that support it."""

    setting: Setting
    number: int | None
    origin: str
    losses: Mapping[int, float]
    accuracy: Estimate | None
    difference: Estimate | None
    verdict: str
    reference_verdict: str | None = None
    caveats: tuple[str, ...] = ()


def row_of(comparison: Comparison, optimizer: str | None, trial: int | None = None) -> Row:
    """Return an optimizer's row; without a name, the best one."""
    name, rows = comparison.search.name, {row.optimizer: row for row in comparison.rows}
    if optimizer is not None:
        if optimizer not in rows:
            raise NotFound(f"search '{name}': {unknown('optimizer', optimizer, rows)}")
        return _installed(name, rows[optimizer])
    if not rows:
        raise NothingUsable(f"search '{name}' has no optimizer yet; continue it first")
    if trial is not None and len(rows) > 1:
        listed = ", ".join(f"{name}/{row}" for row in sorted(rows))
        raise SpecError(f"trial {trial} must be of one optimizer; name one of {listed}")
    return _installed(name, comparison.rows[0])


def _installed(search: str, row: Row) -> Row:
    check_installed(search, row.optimizer)
    return row


def judged_of(search: SearchRecord, row: Row, which: str, trials: Sequence[TrialRecord]) -> Chosen:
    """Return the tuned or the default setting with its judging runs."""
    if which not in {"tuned", "default"}:
        raise SpecError(f"which must be 'tuned' or 'default', got '{which}'")
    contender = row.tuned if which == "tuned" else row.default
    if not contender.losses:
        raise NothingUsable(_unjudged(search.name, row.optimizer, which, contender))
    judged = (trial for trial in trials if trial.role is Role.JUDGE)
    run = next(trial for trial in judged if trial.setting.trains_like(contender.setting))
    is_tuned = which == "tuned"
    return Chosen(
        setting=run.setting,
        number=run.source,
        origin=contender.origin,
        losses=contender.losses,
        accuracy=contender.accuracy,
        difference=row.difference if is_tuned else None,
        verdict=row.verdict if is_tuned else _for_comparison(row),
        reference_verdict=row.reference_verdict if is_tuned else None,
    )


def _for_comparison(row: Row) -> str:
    ours = row.default.word == "default"
    which = f"the default of {row.optimizer}" if ours else row.default.called
    return f"{which}, for comparison"


def _unjudged(search: str, optimizer: str, which: str, contender: Contender) -> str:
    why = contender.failures[0] if contender.failures else "no judging run has ended"
    return (
        f"the {which} setting of {optimizer} in search '{search}' has no loss: {why}; "
        f"continue the search, or name one trial"
    )


def single(search: SearchRecord, row: Row, trials: Sequence[TrialRecord], number: int) -> Chosen:
    """Return the setting of one trial, supported by one run."""
    where = f"{row.optimizer} in search '{search.name}'"
    run = next((t for t in trials if t.number == number), None)
    if run is None:
        raise NotFound(f"no trial {number} of {where}; its {len(trials)} trials count from 0")
    if run.loss is None:
        why = f": {run.reason}" if run.reason else ""
        raise NothingUsable(f"trial {number} of {where} has no loss, it is {run.state}{why}")
    partial = run.state is not TrialState.COMPLETE
    caveat = f"its loss was read at step {run.step} of {run.target}, before the schedule ended"
    return Chosen(
        setting=run.setting,
        number=number,
        origin=f"trial {number} ({run.origin})",
        losses={run.seed: run.loss},
        accuracy=None if run.accuracy is None else estimate([run.accuracy]),
        difference=None,
        verdict=_of_one(run),
        caveats=(caveat,) if partial else (),
    )


def _of_one(run: TrialRecord) -> str:
    if run.role is Role.ADDED:
        return "a trial that was measured elsewhere: this search did not run its setting"
    return "a single trial, chosen by hand: nothing is said about other seeds"
