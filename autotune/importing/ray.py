"""Read an experiment of Ray Tune from its folder; Ray is not needed for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autotune.errors import SpecError
from autotune.importing.base import Runs, Sorting, named, number

PARAMS, RESULTS, ERROR = "params.json", "result.json", "error.txt"


def is_experiment(path: Path) -> bool:
    """Return whether a folder holds trials of Ray Tune."""
    return path.is_dir() and any(_trials(path))


def read(path: Path, metric: str | None) -> Runs:
    """Return the trials of an experiment, each with its last result.

    Args:
        path: Of the experiment's folder, which has a folder for each trial.
        metric: The number in results that trials are ranked by.

    Raises:
        SpecError: A file is damaged, or no metric is named.
        UnknownName: No trial reported such a number.
    """
    trials = {folder: _last(folder / RESULTS) for folder in _trials(path)}
    known = sorted({name for last in trials.values() for name in last if name[:7] != "config/"})
    key = named(metric, known, str(path))
    sorting = Sorting()
    for folder, last in trials.items():
        if (folder / ERROR).is_file():
            sorting.left_out["failed"] += 1
            continue
        called = f"{path.name} {last.get('trial_id', folder.name)}"
        sorting.take(called, _flat(_json(folder / PARAMS)), number(last.get(key)))
    return Runs(source=str(path), found=sorting.found, left_out=sorting.left_out)


def _trials(path: Path) -> Iterator[Path]:
    return (folder for folder in sorted(path.iterdir()) if (folder / PARAMS).is_file())


def _last(path: Path) -> dict[str, Any]:
    """Return the last result of a trial; nothing where it reported none.

    A trial that was killed while it wrote leaves a piece of a line, and the one before counts.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        if lines and not lines[-1].endswith(b"\n") and not _is_json(lines[-1]):
            lines.pop()
        last = json.loads(lines[-1]) if lines else {}
    except (OSError, ValueError) as error:
        raise SpecError(f"{path} cannot be read ({error})") from None
    if not isinstance(last, Mapping):
        raise SpecError(f"{path} must hold a mapping on each line, got {str(last)[:40]!r}")
    return _flat(last)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path} cannot be read ({error})") from None
    return found if isinstance(found, Mapping) else {}


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested values by names with slashes, as Ray's data frames have them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{path}{name}/")
        else:
            found[f"{path}{name}"] = value
    return found
