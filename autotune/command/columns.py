"""A file of measurements that a command writes, row by row: JSON lines, or CSV with a header."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.command.said import Malformed, Said, said
from autotune.errors import SpecError

NAMES = ("step", "loss", "accuracy")
TRIAL = "{trial}"
_COLUMN = re.compile(r"(?P<column>.+?)(?:(?P<sign>[+*/])(?P<number>\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Column:
    """Where a number of a measurement stands in a row.

    Args:
        text: The column, perhaps with what is done to its numbers: ``epoch+1``, ``top1/100``.
    """

    text: str

    def value(self, row: Mapping[str, Any]) -> Any:
        """Return the number of a row as it is to be read; None or nothing where it has none."""
        if self.text in row:
            return row[self.text]
        found = _COLUMN.fullmatch(self.text)
        value = row.get(found["column"]) if found else None
        if found is None or value in (None, "") or found["sign"] is None:
            return value
        number, by = float(str(value)), float(found["number"])
        match found["sign"]:
            case "+":
                return number + by
            case "*":
                return number * by
        return number / by


def columns(metric: Mapping[str, str]) -> dict[str, Column]:
    """Return the columns of a measurement; those that are not named have its own names.

    Raises:
        SpecError: Something else is named, or a column divides by 0.
    """
    for name, text in metric.items():
        if name not in NAMES:
            raise SpecError(f"metric must name step, loss or accuracy, got '{name}'")
        found = _COLUMN.fullmatch(text)
        if found and found["sign"] == "/" and float(found["number"]) == 0:
            raise SpecError(f"metric {name} must not divide by 0, got '{text}'")
    return {name: Column(metric.get(name, name)) for name in NAMES}


def check(file: str, metric: Mapping[str, str]) -> None:
    """Refuse a file that trials would share, and columns that are none; raises SpecError."""
    if TRIAL not in file:
        raise SpecError(
            f"report must be a file of one trial alone, got '{file}'; put {TRIAL} into its path, "
            "and into the command where that names it"
        )
    columns(metric)


class Rows:
    """Reads measurements from a file as it grows.

    A file of an earlier attempt of the trial is removed: its rows would be taken for new ones.

    Args:
        path: The file; it need not be there yet.
        metric: Columns by what they hold.
    """

    def __init__(self, path: Path, metric: Mapping[str, str]) -> None:
        path.unlink(missing_ok=True)
        self._path, self._columns = path, columns(metric)
        self._begin()
        self._last = -1  # the last step that was read: a file that is written anew repeats steps
        self._again = False

    def _begin(self) -> None:
        self._place, self._rest = 0, b""
        self._header: list[str] | None = None

    def read(self, *, over: bool = False) -> Iterator[Said]:
        """Yield new measurements; ``over``: nothing follows, so a last line needs no end.

        Raises:
            Malformed: A row with a loss has no step, or one is no number.
        """
        lines = (self._rest + self._new()).split(b"\n")
        self._rest = b"" if over else lines.pop()
        for line in lines:
            yield from self._measured(line.decode("utf-8", "replace").strip("\r"))

    def _new(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, io.SEEK_END) < self._place:  # written anew, as some loggers do
                    self._begin()
                    self._again = True
                file.seek(self._place)
                data = file.read()
        except FileNotFoundError:
            return b""
        self._place += len(data)
        return data

    def _measured(self, line: str) -> Iterator[Said]:
        row = self._row(line)
        loss = self._value("loss", row)
        if loss in (None, ""):  # a row of something else, such as the training loss
            return
        values = {name: self._value(name, row) for name in NAMES}
        found = said(values, f"a row of {self._path.name}")
        if self._again and found.step <= self._last:
            return
        self._last = found.step
        yield found

    def _value(self, name: str, row: Mapping[str, Any]) -> Any:
        try:
            return self._columns[name].value(row)
        except ValueError:
            text = self._columns[name].text
            raise Malformed(
                f"column '{text}' of {self._path.name} must hold numbers, got {row!r}"
            ) from None

    def _row(self, line: str) -> dict[str, Any]:
        if not line.strip():
            return {}
        if self._header is None and line.lstrip().startswith("{"):
            return self._json(line)
        [cells] = csv.reader([line])
        if self._header is None:
            self._header = [cell.strip() for cell in cells]
            self._check_header()
            return {}
        return dict(zip(self._header, cells, strict=False))

    def _json(self, line: str) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError:
            raise Malformed(f"a line of {self._path.name} is no JSON: {line[:80]}") from None
        return found if isinstance(found, dict) else {}

    def _check_header(self) -> None:
        header = self._header or []
        for name in ("step", "loss"):
            column = self._columns[name].text
            found = _COLUMN.fullmatch(column)
            if column not in header and (found is None or found["column"] not in header):
                raise Malformed(
                    f"{self._path.name} has no column '{column}' for the {name}, its columns are "
                    f"{', '.join(header)}; name it: --metric {name}=COLUMN"
                )
