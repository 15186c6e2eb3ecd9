"""A trial of a search, for tests that say only what matters to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autotune.studies.records import Role, TrialRecord


def search_trial(number: int = 0, **changes: Any) -> TrialRecord:
    """Return a trial that waits for its first step.

    Args:
        number: Its number; its id is 100 more.
        **changes: Fields that are to be otherwise.
    """
    trial = TrialRecord(
        id=100 + number,
        study=1,
        number=number,
        role=Role.SEARCH,
        origin="sobol",
        params={},
        hyper={},
        warmup=0.1,
        seed=0,
        target=81,
    )
    return replace(trial, **changes)
