"""What a running search does at this moment: its stage, what is left of its budget, its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain

import pandas as pd

from autotune.app import words
from autotune.studies.records import AttemptRecord, Role, SearchRecord, TrialRecord, TrialState

NEWEST = 8  # trials that changed last


def stage(trials: Mapping[str, Sequence[TrialRecord]]) -> str:
    """Return the stage in which trials run: the last one that any of them is in."""
    every = list(chain.from_iterable(trials.values()))
    running = [trial.role for trial in every if trial.state is TrialState.RUNNING]
    begun = running or [trial.role for trial in every if trial.role is not Role.ADDED]
    return max(begun, key=list(Role).index).value if begun else "none yet"


def budget(search: SearchRecord, trials: Mapping[str, Sequence[TrialRecord]]) -> dict[str, str]:
    """Return what is spent of each limit of a budget, by the limit's name.

    The optimizer that has spent least is counted: equal budgets mean that the others wait for it.
    """
    limits = search.spec.get("budget") or {}
    own = [[trial for trial in those if trial.role is Role.SEARCH] for those in trials.values()]
    spent = {
        "trials": min((len(those) for those in own), default=0),
        "runs": min((sum(t.step / t.target for t in those) for those in own), default=0.0),
        "minutes": search.seconds / 60,
    }
    units = {
        "trials": "Settings, of {} each",
        "runs": "Full runs, of {} each",
        "minutes": "Minutes, of {}",
    }
    return {
        unit.format(words.number(limits[name])): f"{spent[name]:.3g}"
        for name, unit in units.items()
        if limits.get(name)
    }


def workers(
    attempts: Mapping[str, Sequence[AttemptRecord]],
    trials: Mapping[str, Sequence[TrialRecord]],
    now: datetime | None = None,
) -> pd.DataFrame:
    """Return a row for each trial that a worker runs now, both by optimizer."""
    known = {trial.id: trial for trial in chain.from_iterable(trials.values())}
    return pd.DataFrame(
        [
            {
                "worker": one.worker,
                "optimizer": optimizer,
                "trial": known[one.trial].number,
                "stage": known[one.trial].role.value,
                "saved at step": known[one.trial].step,
                "of": known[one.trial].target,
                "began": words.ago(one.started, now),
                "last heard": words.ago(one.heartbeat, now),
            }
            for optimizer, those in attempts.items()
            for one in those
            if one.ended is None and one.trial in known
        ]
    )


def newest(
    trials: Mapping[str, Sequence[TrialRecord]], now: datetime | None = None
) -> pd.DataFrame:
    """Return the trials that changed last, the newest first."""
    dated = [
        (trial.updated, optimizer, trial)
        for optimizer, those in trials.items()
        for trial in those
        if trial.updated
    ]
    last = sorted(dated, key=lambda each: words.aware(each[0]), reverse=True)[:NEWEST]
    return pd.DataFrame(
        [
            {
                "when": words.ago(moment, now),
                "optimizer": optimizer,
                "trial": trial.number,
                "stage": trial.role.value,
                "state": trial.state.value,
                "step": trial.step,
                "of": trial.target,
                "loss": trial.loss,
                "reason": trial.reason or "",
            }
            for moment, optimizer, trial in last
        ]
    )
