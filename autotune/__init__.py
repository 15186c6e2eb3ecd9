"""Find the setting that makes Adan and Win train your model best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.api.result import Result
    from autotune.api.trial import Trial
    from autotune.api.tune import load, tune
    from autotune.api.tuned import Tuned
    from autotune.api.tuner import Tuner
    from autotune.command.report import report
    from autotune.tasks.base import Measurement, Problem

__version__ = "0.1.0"

# Public names by the module that holds them: importing the package loads none of them.
_PUBLIC = {
    "Measurement": "autotune.tasks.base",
    "Problem": "autotune.tasks.base",
    "Result": "autotune.api.result",
    "Trial": "autotune.api.trial",
    "Tuned": "autotune.api.tuned",
    "Tuner": "autotune.api.tuner",
    "load": "autotune.api.tune",
    "report": "autotune.command.report",
    "tune": "autotune.api.tune",
}

__all__ = [
    "Measurement",
    "Problem",
    "Result",
    "Trial",
    "Tuned",
    "Tuner",
    "__version__",
    "load",
    "report",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, and what a module has besides."""
    return sorted({*globals(), *__all__})
