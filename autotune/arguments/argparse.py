"""Words for a script of one's own that uses argparse: ``--weight-decay 0.02 --betas 0.9 0.99``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.arguments.parts import text


def words(optimizer: str, hyper: Mapping[str, Any], warmup: float, steps: int) -> list[str]:
    """Write each argument as an option of its own name; several numbers are several words."""
    given = {"optimizer": optimizer, **hyper, "warmup": warmup, "steps": steps}
    return [word for name, value in given.items() for word in _option(name, value)]


def _option(name: str, value: Any) -> list[str]:
    values = value if isinstance(value, tuple | list) else (value,)
    return [f"--{name.replace('_', '-')}", *map(text, values)]
