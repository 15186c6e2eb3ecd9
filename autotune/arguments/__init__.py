"""A setting as the words of a command line, in the form that a framework reads.

A form is one module with ``words(optimizer, hyper, warmup, steps) -> list[str]``, which its entry
point in the group ``autotune.arguments`` names. It says the optimizer, all its arguments and the
schedule, and refuses by name what the framework has no words for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autotune import registry

GROUP = "autotune.arguments"

__all__ = ["forms", "words"]

Form = Callable[[str, Mapping[str, Any], float, int], list[str]]


def forms() -> list[str]:
    """Return the names of the forms, as in ``{args:NAME}``."""
    return registry.names(GROUP)


def words(
    form: str, optimizer: str, hyper: Mapping[str, Any], warmup: float, steps: int
) -> list[str]:
    """Return the words of a setting.

    Args:
        form: Name of the form.
        optimizer: Registry name.
        hyper: Keyword arguments of ``autotune.optimizers.create``.
        warmup: Fraction of the schedule in which the learning rate rises.
        steps: Length of the schedule.

    Raises:
        UnknownName: There is no such form.
        SpecError: The framework has no words for the setting.

    Example:
        >>> from autotune.arguments import words
        >>> words("openclip", "adamw", {"lr": 0.001, "betas": (0.9, 0.98)}, 0.1, 1000)[:4]
        ['--opt', 'adamw', '--lr', '0.001']
    """
    write: Form = registry.load(GROUP, form)
    return write(optimizer, hyper, warmup, steps)
