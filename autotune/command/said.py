"""What a command says of its progress: a step with its validation loss, checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import SpecError

LINE = "autotune step=100 loss=2.31 accuracy=0.7"  # how a line looks that reports
_LINE = re.compile(r"\s*autotune\s+(step=.*)")
_NAMES = ("step", "loss", "accuracy")
_LONGEST = 4096  # bytes of a line that may be a report


@dataclass(frozen=True, kw_only=True)
class Said:
    """A measurement as a command has told it.

    Args:
        step: Steps taken, the command's own count.
        loss: Validation loss; may be NaN or infinite.
        accuracy: Fraction that is right; None: not measured.
    """

    step: int
    loss: float
    accuracy: float | None = None


class Malformed(SpecError):
    """A command reported something that is no measurement."""


def said(values: Mapping[str, Any], where: str) -> Said:
    """Return what values by name say.

    Args:
        values: ``step``, ``loss`` and perhaps ``accuracy``, as numbers or as text.
        where: What reported them, for the sentence.

    Raises:
        Malformed: One is missing or is no number.
    """
    for name in ("step", "loss"):
        if values.get(name) in (None, ""):
            raise Malformed(f"{where} must have a {name}, as in '{LINE}'")
    right = values.get("accuracy")
    return Said(
        step=_whole(values["step"], where),
        loss=_number("loss", values["loss"], where),
        accuracy=None if right in (None, "") else _number("accuracy", right, where),
    )


def _whole(value: Any, where: str) -> int:
    number = _number("step", value, where)
    if not number.is_integer():
        raise Malformed(f"the step of {where} must be a whole number, got {value}")
    return int(number)


def _number(name: str, value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        got = repr(str(value)[:80])
        raise Malformed(f"the {name} of {where} must be a number, got {got}") from None


class Lines:
    """Finds reports among what a command prints, piece by piece."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Said]:
        """Yield the reports in whole lines; a line without an end waits for it."""
        lines = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()[-_LONGEST:]
        for line in lines:
            if b"autotune" in line[:_LONGEST]:
                yield from self._read(line)

    @staticmethod
    def _read(line: bytes) -> Iterator[Said]:
        text = line[:_LONGEST].decode("utf-8", "replace")
        found = _LINE.fullmatch(text.rstrip())
        if found is None:
            return
        where = f"the line '{text.strip()[:200]}'"
        values: dict[str, str] = {}
        for word in found[1].split():
            name, equals, value = word.partition("=")
            if not equals or name not in _NAMES:
                raise Malformed(f"{where} has '{word[:80]}'; it must look like '{LINE}'")
            values[name] = value
        yield said(values, where)
