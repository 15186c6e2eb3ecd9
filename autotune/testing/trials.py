"""A trial of a search and its setting, for tests that say only what matters to them."""

from __future__ import annotations

from typing import Any

from autotune.studies.records import Role, TrialRecord
from autotune.studies.setting import Setting


def setting_of(**parts: Any) -> Setting:
    """Return a setting of the given ``params``, ``hyper`` and ``warmup``."""
    return Setting(**{"params": {}, "hyper": {}, "warmup": 0.1, **parts})


def nested(**fields: Any) -> dict[str, Any]:
    """Return fields of a trial, a proposal or a job, with those of its setting in one."""
    parts = {name: fields.pop(name) for name in ("params", "hyper", "warmup") if name in fields}
    return {"setting": setting_of(**parts), **fields}


def search_trial(number: int = 0, **changes: Any) -> TrialRecord:
    """Return a trial that waits for its first step.

    Args:
        number: Its number; its id is 100 more.
        **changes: Fields of it or of its setting that are to be otherwise.
    """
    known: dict[str, Any] = {
        "id": 100 + number, "study": 1, "number": number, "role": Role.SEARCH, "origin": "sobol",
        "seed": 0, "target": 81,
    }  # fmt: skip
    return TrialRecord(**nested(**known | changes))
