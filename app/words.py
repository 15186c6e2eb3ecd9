"""How parameters, settings, times and strangers' text are written on pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from autotune.studies.setting import Setting

_LABELS = MappingProxyType(
    {
        "lr": "learning rate",
        "decayed": "weight decay",
        "timescale": "timescale 1/(lr·wd), steps",
        "one_minus_beta1": "1 - β₁",
        "one_minus_beta2": "1 - β₂",
        "one_minus_beta3": "1 - β₃",
        "one_minus_momentum": "1 - momentum",
        "gamma1": "γ₁",
        "gamma_ratio": "γ₂/γ₁",
        "warmup": "warm-up, fraction",
    }
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:@&])")
_THOUSANDS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def label(parameter: str) -> str:
    """Return how a parameter is named on an axis."""
    return _LABELS.get(parameter) or markup(parameter)


def markup(text: str) -> str:
    """Keep a stranger's angle brackets from being read as tags in a chart."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def called(optimizer: str, search: str) -> str:
    """Return how an optimizer of one of two searches is called."""
    return f"{optimizer}, {markup(search)}"


def setting(optimizer: str, word: str) -> str:
    """Return how an optimizer's setting is called: "adan tuned", or "adan tuned, wide"."""
    own = optimizer_of(optimizer)
    return f"{own} {word}{optimizer.removeprefix(own)}"


def optimizer_of(name: str) -> str:
    """Return the optimizer of "adan" or "adan, wide"."""
    return name.partition(",")[0]


def plain(text: str) -> str:
    """Escape text for markdown: a search may be named anything."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def headline(text: str, names: Iterable[str] = ()) -> str:
    """Begin a sentence with a capital letter, unless it begins with one of the names."""
    return text if text.startswith(tuple(names)) else text[:1].upper() + text[1:]


def number(value: float) -> str:
    """Write a number with four significant digits, small ones in powers of ten."""
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.3g}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def value(item: Any) -> str:
    """Write one hyper-parameter."""
    if isinstance(item, bool) or item is None:
        return {True: "yes", False: "no", None: "none"}[item]
    if isinstance(item, (list, tuple)):
        return ", ".join(value(part) for part in item)
    return number(float(item)) if isinstance(item, (int, float)) else str(item)


def tick(value: float) -> str:
    """Write a number of an axis, thousands as 10k and 1M."""
    for size, unit in _THOUSANDS:
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return number(value)


def settings(setting: Setting) -> dict[str, str]:
    """Write a setting, a column for each hyper-parameter."""
    hyper = {name: value(item) for name, item in setting.hyper.items()}
    return hyper | {"warm-up": value(setting.warmup)}


def duration(seconds: float) -> str:
    """Write a time span in the largest unit that fits."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 or not seconds else f"{seconds:.1g} s"


def zone(name: str | None) -> tzinfo:
    """Return the time zone of a name; UTC where this machine does not know it."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def moment(when: datetime | None, zone: tzinfo = UTC) -> str:
    """Write a moment to the second, with the name of its time zone; nothing for none."""
    return "" if when is None else f"{aware(when).astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def aware(moment: datetime) -> datetime:
    """Return a moment with its time zone: what is stored without one is in UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Write how long ago something happened."""
    if moment is None:
        return "never"
    passed = ((now or datetime.now(UTC)) - aware(moment)).total_seconds()
    return "just now" if passed < 5 else f"{duration(passed)} ago"
