"""Tables of searches, studies, settings and trials, as data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import pandas as pd

from autotune.app import words
from autotune.results.comparison import Comparison, Contender, Row
from autotune.results.intervals import Estimate
from autotune.results.validation import Longer, Validation
from autotune.studies.records import AttemptRecord, Role, SearchRecord, TrialRecord, TrialState
from autotune.studies.setting import Setting

# A spreadsheet runs a cell that begins like a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
TROUBLE = (TrialState.DIVERGED, TrialState.FAILED)


def searches(records: Iterable[SearchRecord], now: datetime | None = None) -> pd.DataFrame:
    """Return a row for each search: where it stands and the best loss found."""
    return pd.DataFrame([_search(record, now) for record in records])


def _search(record: SearchRecord, now: datetime | None) -> dict[str, Any]:
    bests = {s.optimizer: s.best for s in record.studies if s.best is not None}
    best = min(bests, key=lambda name: bests[name], default=None)
    counts = totals(record)
    return {
        "search": record.name,
        "state": record.state.value,
        "model": str(record.task.get("model", "")),
        "data": str(record.task.get("data", "")),
        "optimizers": ", ".join(study.optimizer for study in record.studies),
        "lowest trial loss": bests[best] if best else None,
        "of": best or "",
        "trials": sum(counts.values()),
        "diverged": counts.get("diverged", 0),
        "failed": counts.get("failed", 0),
        "time": words.duration(record.seconds),
        "last activity": words.ago(record.updated, now),
    }


def totals(record: SearchRecord) -> dict[str, int]:
    """Return the trials of a search by state, in the order of a trial's life."""
    sums = {s.value: sum(study.counts.get(s, 0) for study in record.studies) for s in TrialState}
    return {state: count for state, count in sums.items() if count}


def studies(record: SearchRecord) -> pd.DataFrame:
    """Return a row for each optimizer: its best loss and its trials by state."""
    return pd.DataFrame(
        [
            {"optimizer": study.optimizer, "lowest trial loss": study.best}
            | {state: study.counts.get(state, 0) for state in totals(record)}
            | ({"added": study.added} if any(one.added for one in record.studies) else {})
            for study in record.studies
        ]
    )


def contenders(comparison: Comparison) -> tuple[pd.DataFrame, str]:
    """Return each default and tuned setting, and what is the same in all of them in words.

    A switch that is off in all of them is left out.
    """
    beside, alike = varied([one.setting for _, _, one in _contenders(comparison)])
    found = pd.DataFrame({"found by": [one.origin for _, _, one in _contenders(comparison)]})
    return pd.concat([outcomes(comparison), beside, found], axis=1), alike


def outcomes(comparison: Comparison) -> pd.DataFrame:
    """Return a row for each default and tuned setting: its loss and accuracy over seeds."""
    return pd.DataFrame(
        [
            {
                "optimizer": row.optimizer,
                "setting": word,
                "loss": _estimate(judged.loss, judged.failures),
                "accuracy": _estimate(judged.accuracy, ()),
                "seeds": len(judged.losses),
            }
            for row, word, judged in _contenders(comparison)
        ]
    )


def apart(comparison: Comparison) -> tuple[pd.DataFrame, str]:
    """Return settings beside each other, tuned ones first: a row for each part that differs.

    Also what is the same in words, without switches that are off in all of them.
    """
    beside, alike = varied([one.setting for _, _, one in _contenders(comparison)])
    names = [f"{row.optimizer} {word}" for row, word, _ in _contenders(comparison)]
    turned = beside.T.set_axis(names, axis="columns")
    ordered: list[str] = sorted(names, key=lambda name: not name.endswith(" tuned"))
    return turned[ordered].reset_index(names="hyper-parameter"), alike


def varied(every: Sequence[Setting]) -> tuple[pd.DataFrame, str]:
    """Return what differs between settings, a row for each, and what does not in words.

    A switch that is off in all of them is left out.
    """
    hyper = pd.DataFrame([words.settings(one) for one in every]).fillna("")
    said = {name: sorted({value for value in hyper[name] if value}) for name in hyper}
    same = [name for name, values in said.items() if len(every) > 1 and len(values) == 1]
    off = {name for one in every for name, value in one.hyper.items() if value is False}
    alike = ", ".join(f"{name} {said[name][0]}" for name in same if name not in off)
    return hyper.drop(columns=same), alike


def _contenders(comparison: Comparison) -> list[tuple[Row, str, Contender]]:
    """Return the judged settings, each with its optimizer and how it is called."""
    return [
        (row, _word(row, name), getattr(row, name))
        for row in comparison.rows
        for name in (("default", "tuned") if row.changed else ("default",))
    ]


def _word(row: Row, name: str) -> str:
    if not row.changed:
        return f"{row.default.word} = tuned"
    return name if name == "tuned" else row.default.word


def _estimate(estimate: Estimate | None, failures: Sequence[str]) -> str:
    if estimate is None:
        return failures[0] if failures else ""
    return str(estimate)


def trials(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Return a row for each trial, with a column for each hyper-parameter."""
    return pd.DataFrame([_trial(record) for record in records])


def _trial(record: TrialRecord) -> dict[str, Any]:
    return {
        "trial": record.number,
        "state": record.state.value,
        "stage": record.role.value,
        "loss": record.loss,  # as far as a phone shows
        "origin": record.origin,
        "accuracy": record.accuracy,
        "step": record.step,
        "of": record.target,
        "seed": None if record.role is Role.ADDED else record.seed,
        "seconds": round(record.seconds, 2),
        **{name: _cell(value) for name, value in record.setting.hyper.items()},
        "warm-up": record.setting.warmup,
        "reason": record.reason or "",
    }


def _cell(value: Any) -> float | str:
    """Keep numbers numbers, so that they sort; write everything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return words.value(value)


def matching(
    records: Iterable[TrialRecord], states: Sequence[str], roles: Sequence[str], text: str
) -> list[TrialRecord]:
    """Return the trials of these states and roles that mention the text; empty means any."""
    wanted = text.strip().lower()
    return [
        record
        for record in records
        if (not states or record.state in states)
        and (not roles or record.role in roles)
        and (not wanted or wanted in _text(record))
    ]


def _text(record: TrialRecord) -> str:
    hyper: Mapping[str, Any] = {**record.setting.hyper, **record.setting.params}
    said = [f"trial {record.number}", record.origin, record.reason or ""]
    return " ".join([*said, *(f"{k}={words.value(v)}" for k, v in hyper.items())]).lower()


def failures(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Return trials that diverged or failed, the reason first; a stopped one did neither."""
    lost = [record for record in records if record.state in TROUBLE]
    return pd.DataFrame(
        [
            {
                "trial": record.number,
                "state": record.state.value,
                "reason": record.reason or "no reason was stored",
                **({"last output": "\n".join(record.output)} if record.output else {}),
                "step": record.step,
                "of": record.target,
                "origin": record.origin,
                **words.settings(record.setting),
            }
            for record in lost
        ]
    ).fillna("")


def rungs(records: Sequence[TrialRecord], steps: Sequence[int]) -> pd.DataFrame:
    """Return a row for each rung: how many settings reached it, and what came of them there.

    Args:
        records: The trials of a study.
        steps: Of its rungs, the full length last.
    """
    searched = [record for record in records if record.role is Role.SEARCH]
    ends = [(record.state, record.step, record.target) for record in searched]
    rows = []
    for step, last in zip(steps, [*[False] * (len(steps) - 1), True], strict=True):
        here = [(state, at, target) for state, at, target in ends if at >= step]
        stopped = [t for state, at, t in here if state is TrialState.STOPPED and at == step]
        waiting = [t for state, at, t in here if state is TrialState.PAUSED and at == step]
        rows.append(
            {
                "rung, steps": step,
                "reached it": len(here),
                "went on": 0 if last else sum(at > step for _, at, _ in here),
                "stopped here": len(stopped),
                "paused here": len(waiting),
                "full runs not spent": round(sum(1 - step / target for target in stopped), 2),
            }
        )
    return pd.DataFrame(rows)


def attempts(records: Iterable[AttemptRecord], zone: tzinfo = UTC) -> pd.DataFrame:
    """Return a row for each worker's go at a trial, its times in a zone."""
    return pd.DataFrame(
        [
            {
                "attempt": record.number,
                "worker": record.worker,
                "began": words.moment(record.started, zone),
                "last heard": words.moment(record.heartbeat, zone),
                "ended": words.moment(record.ended, zone),
                "as": record.outcome or "running",
            }
            for record in records
        ]
    )


def alike(records: Iterable[TrialRecord], trial: TrialRecord) -> list[TrialRecord]:
    """Return the other trials that ran the setting of this one."""
    return [
        record
        for record in records
        if record.number != trial.number and record.setting.trains_like(trial.setting)
    ]


def runs(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Return a row for each run of one setting."""
    return pd.DataFrame(
        [
            {
                "trial": record.number,
                "stage": record.role.value,
                "seed": record.seed,
                "state": record.state.value,
                "step": record.step,
                "loss": record.loss,
                "accuracy": record.accuracy,
            }
            for record in records
        ]
    )


def longer(found: Validation) -> pd.DataFrame:
    """Return a row for each setting of a validation: its loss there, and how it differs."""
    rows = [
        {
            "optimizer": one.optimizer,
            "setting": one.which,
            "loss": _estimate(one.loss, one.failures),
            "accuracy": None if one.accuracy is None else words.number(one.accuracy),
            "seeds": len(one.losses),
            "restated by": restated_by(one),
        }
        for one in found.settings
    ]
    beside, _ = varied([one.setting for one in found.settings])
    return pd.concat([pd.DataFrame(rows), beside], axis=1).fillna("")


def restated_by(one: Longer) -> str:
    """Say which rules carried a setting over to longer runs; empty: it is as it was found."""
    return "" if one.rules is None else "+".join(one.rules) or "no rule"


def changes(chosen: Setting, default: Setting) -> pd.DataFrame:
    """Return a row for each part of a setting, beside the optimizer's default."""
    one, other = words.settings(chosen), words.settings(default)
    return pd.DataFrame(
        [
            {"hyper-parameter": name, "value": one.get(name, ""), "default": other.get(name, "")}
            for name in dict.fromkeys([*one, *other])
        ]
    )


def csv(frame: pd.DataFrame) -> str:
    """Write a table for a spreadsheet; text that would run as a formula is quoted."""
    return frame.map(_defused).to_csv(index=False)


def _defused(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
