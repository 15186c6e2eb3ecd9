"""What is known of a request before it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotune.studies.tokens import TokenRecord

STATE = "autotune"  # where a request's scope holds it


@dataclass(kw_only=True)
class Caller:
    """What is known of a request before it is answered.

    Args:
        route: Path of the route that answers it; None where there is none.
        name: Name of that route.
        path: Parts of the address.
        token: By which it was let in; None where none is asked for.
    """

    route: str | None = None
    name: str = ""
    path: Mapping[str, Any] = field(default_factory=dict)
    token: TokenRecord | None = None


def caller(scope: Mapping[str, Any]) -> Caller:
    """Return what is known of a request."""
    found: Caller | None = scope.get("state", {}).get(STATE)
    return found or Caller()
