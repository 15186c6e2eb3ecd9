"""What a service refuses, as the library's own errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.errors import (
    AlreadyThere,
    AutotuneError,
    LeaseLost,
    NotFound,
    NothingUsable,
    SpecError,
    StorageError,
)


class Refused(AutotuneError):
    """The service refused a call for a reason that the library has no error of its own for.

    Args:
        text: Why, in one sentence.
        kind: Last part of the problem's type.
    """

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


_ERRORS: Mapping[str, type[AutotuneError]] = {
    "already-there": AlreadyThere,
    "conflict": AlreadyThere,
    "invalid": SpecError,
    "lease-lost": LeaseLost,
    "not-found": NotFound,
    "not-judged-yet": NothingUsable,
    "spec-differs": AlreadyThere,
    "storage-unavailable": StorageError,
}


def error_of(problem: Mapping[str, Any]) -> AutotuneError:
    """Return the error that a problem (RFC 9457) says."""
    kind = str(problem.get("type", "")).removeprefix("urn:autotune:")
    text = str(problem.get("detail") or problem.get("title") or "the service refused the call")
    found = _ERRORS.get(kind)
    return found(text) if found is not None else Refused(text, kind)
