"""Tokens of the service, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from autotune.cli.views.format import NONE
from autotune.cli.views.table import table
from autotune.studies.tokens import TokenRecord

HEADER = ("id", "name", "scope", "search", "made", "expires", "used", "revoked")


def text(tokens: Sequence[TokenRecord]) -> str:
    """Return a row for each token; times are in UTC."""
    return table([HEADER, *map(_row, tokens)])


def _row(token: TokenRecord) -> tuple[str, ...]:
    times = (token.created, token.expires, token.used, token.revoked)
    search = token.search or "all"
    return (str(token.id), token.name, token.scope, search, *map(_time, times))


def _time(moment: datetime | None) -> str:
    return NONE if moment is None else f"{moment:%Y-%m-%d %H:%M}"
