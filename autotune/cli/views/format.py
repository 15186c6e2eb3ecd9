"""Numbers, settings and times as text for people."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from autotune.results.figures import figure

NONE = "-"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number to a few significant digits."""
    return NONE if value is None else f"{value:.{digits}g}"


def loss(value: float | None) -> str:
    """Write a loss."""
    return NONE if value is None else figure(value)


def percent(value: float | None) -> str:
    """Write a fraction as a percentage."""
    return NONE if value is None else f"{100 * value:.3g} %"


def accuracy(value: float | None) -> str:
    """Write an accuracy as a percentage; one above 1 is no fraction, and stands as it was given."""
    return f"{value:.4g}" if value is not None and value > 1 else percent(value)


def close_to_one(value: float) -> str:
    """Write a beta with two significant digits of its distance from one, as in 0.9987."""
    distance = Decimal(1) - Decimal(repr(value))
    digits = max(2, 1 - distance.adjusted()) if distance else 0
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:g}"


def betas(hyper: Mapping[str, Any]) -> str:
    """Write the betas of a setting, or its momentum."""
    if "betas" in hyper:
        return " ".join(close_to_one(beta) for beta in hyper["betas"])
    if "momentum" in hyper:
        return close_to_one(hyper["momentum"])
    return NONE


def gammas(hyper: Mapping[str, Any]) -> str:
    """Write Win's reckless-step ratios, if the setting uses Win."""
    if not hyper.get("acceleration", "none").startswith("win"):
        return NONE
    return " ".join(number(ratio) for ratio in hyper.get("reckless_steps", ())) or NONE


def duration(seconds: float | None) -> str:
    """Write a time span in its two largest units."""
    if seconds is None:
        return NONE
    if not math.isfinite(seconds):
        return str(seconds)
    if 0 < seconds < 0.1:
        return f"{seconds:.1g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def moment(at: datetime | None) -> str:
    """Write a time to the minute, in UTC, and say so."""
    if at is None:
        return NONE
    universal = at.astimezone(UTC) if at.tzinfo else at
    return universal.strftime("%Y-%m-%d %H:%M UTC")


def counts(by_state: Mapping[str, int]) -> str:
    """Write the number of trials in each state."""
    known = [f"{count} {state}" for state, count in by_state.items() if count]
    return ", ".join(known) or "none"


def facts(values: Mapping[str, Any]) -> dict[str, str]:
    """Write the facts of a task or a machine: names in words, long hashes cut."""
    return {name.replace("_", " "): _short(value(item)) for name, item in values.items()}


def _short(text: str) -> str:
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text


def value(anything: Any) -> str:
    """Write a value of a setting or of a task."""
    if isinstance(anything, float):
        return close_to_one(anything) if 0.5 < anything < 1 else f"{anything:.6g}"
    if isinstance(anything, bool):
        return "yes" if anything else "no"
    if isinstance(anything, int):
        return f"{anything:,}"
    if isinstance(anything, Mapping):
        return ", ".join(f"{name} {value(item)}" for name, item in anything.items())
    if isinstance(anything, list | tuple):
        return " ".join(value(item) for item in anything)
    return NONE if anything is None else str(anything)
