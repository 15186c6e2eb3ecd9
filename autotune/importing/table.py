"""Read a table of runs: what W&B exports of a sweep, and a data frame of Ray Tune or Optuna."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.errors import SpecError
from autotune.importing.base import Runs, Sorting, named, number

PREFIXES = ("config/", "config.", "params_")  # columns of what was varied: Ray's, Optuna's
NAMES = ("Name", "ID", "trial_id", "number")  # columns of what a run is called
STATES = ("State", "state", "status")
ENDED = ("finished", "complete", "terminated")


def read(path: Path, metric: str | None) -> Runs:
    """Return the rows of a CSV.

    Args:
        path: Of the file; its first line names the columns.
        metric: The column that runs are ranked by.

    Raises:
        SpecError: It is no table, or no metric is named.
        UnknownName: It has no such column.
    """
    columns, rows = _rows(path)
    column = named(metric, columns, str(path))
    declared = [each for each in columns if each.startswith(PREFIXES)]
    sorting = Sorting()
    for line, row in enumerate(rows, 2):
        state = next((row[each] for each in STATES if row.get(each)), ENDED[0])
        if state.lower() not in ENDED:
            sorting.left_out[state.lower()] += 1
            continue
        called = next((row[each] for each in NAMES if row.get(each)), f"line {line}")
        values = {each: row[each] for each in declared or columns if row[each] not in ("", None)}
        values.pop(column, None)
        sorting.take(f"{path.name} {called}", values, number(row[column]))
    return Runs(
        source=str(path),
        found=sorting.found,
        left_out=sorting.left_out,
        declared=bool(declared),
    )


def _rows(path: Path) -> tuple[list[str], Sequence[Mapping[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read as a table with commas ({error})") from None
    except OSError as error:
        raise SpecError(f"{path} cannot be read ({error.strerror})") from None
    if len(set(columns)) < max(2, len(columns)) or any(None in row for row in rows):
        raise SpecError(f"{path} is no table with a name for each column and a run a line")
    return columns, rows
