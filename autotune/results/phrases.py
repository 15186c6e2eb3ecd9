"""Several names in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

FEW = 8  # optimizers of a sentence


def few(parts: Sequence[str], between: str = ", ") -> str:
    """Join parts of a sentence; of more than it can hold, the others are counted.

    Example:
        >>> few(["adan", "adamw"])
        'adan, adamw'
    """
    more = len(parts) - FEW
    return between.join(parts if more <= 1 else [*parts[:FEW], f"{more} others"])


def either(names: Sequence[str]) -> str:
    """Join two names or more by an "or".

    Example:
        >>> either(["adan", "adamw"])
        'adan or adamw'
    """
    return f"{', '.join(names[:-1])} or {names[-1]}"
