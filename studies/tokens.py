"""Who may call a service: tokens with a scope, of which only a checksum is stored."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func, insert, select, update

from autotune.studies import attempts, names
from autotune.studies.errors import NotFound, SpecError
from autotune.studies.models import Search, Study, Token, Trial
from autotune.studies.store import Store

BYTES = 32  # of chance in a secret
LONGEST_DAYS = 36500
USED_EVERY = timedelta(minutes=1)  # between writes of when a token was last used

_TEXT = re.compile(r"autotune_([0-9]{1,9})_([A-Za-z0-9_-]{43})")


class Scope(StrEnum):
    """What a token is good for; each includes those before it."""

    READ = "read"  # look at searches and what they found
    WORK = "work"  # begin searches, take trials and tell losses
    ADMIN = "admin"  # change and delete searches, make and revoke tokens

    def covers(self, needed: Scope) -> bool:
        """Return whether this is enough where ``needed`` is asked for."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


class Why(StrEnum):
    """Why a token is not taken."""

    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True)
class TokenRecord:
    """A token as stored.

    Args:
        id: Its number, which is part of its text.
        name: What a person calls it.
        scope: What it is good for.
        search: Name of the only search that it is for; None: for all.
        created: When it was made.
        expires: From when on it is not taken; None: never.
        revoked: When it was taken back.
        used: When it was last used, to the minute.
    """

    id: int
    name: str
    scope: Scope
    search: str | None
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    used: datetime | None


def create(
    store: Store, name: str, scope: Scope, *, search: str | None = None, days: float | None = None
) -> tuple[TokenRecord, str]:
    """Make a token; return it with its text, which cannot be had again.

    Args:
        store: The database that it is for.
        name: What to call it.
        scope: What it is good for.
        search: Name of the only search that it is for, which may begin later.
        days: After which it is not taken any more; None: it always is.

    Raises:
        SpecError: A name or the days cannot be used.

    Example:
        >>> with Store("sqlite://") as store:
        ...     token, text = create(store, "gpus", Scope.WORK)
        ...     check(store, text) == token
        True
    """
    names.check(name)
    if search is not None:
        names.check(search)
    secret = secrets.token_urlsafe(BYTES)
    with store.writing() as connection:
        now = attempts.now(connection)
        values = {
            "name": name,
            "digest": _digest(secret),
            "scope": scope,
            "search": search,
            "created": now,
            "expires": None if days is None else now + _lasting(days),
        }
        query = insert(Token).values(values).returning(*_COLUMNS)
        made = _token(connection.execute(query).one())
    return made, f"autotune_{made.id}_{secret}"


def listed(store: Store) -> list[TokenRecord]:
    """Return every token that was ever made, the oldest first."""
    with store.reading() as connection:
        return [_token(row) for row in connection.execute(select(*_COLUMNS).order_by(Token.id))]


def any_made(store: Store) -> bool:
    """Return whether a token was ever made: from then on a service asks for one."""
    with store.reading() as connection:
        return connection.scalar(select(func.count()).select_from(Token)) != 0


def any_taken(store: Store) -> bool:
    """Return whether there is a token that is taken now."""
    with store.reading() as connection:
        now = attempts.now(connection)
    return any(_refusal(token, now) is None for token in listed(store))


def revoke(store: Store, token_id: int) -> TokenRecord:
    """Take a token back, at once and for good; raises NotFound. Twice is as good as once."""
    if not 0 <= token_id < 10**9:
        raise NotFound(f"no token {token_id}; list them to see which there are")
    which = Token.id == token_id
    with store.writing() as connection:
        values = {"revoked": attempts.now(connection)}
        connection.execute(update(Token).where(which, Token.revoked.is_(None)).values(values))
        row = connection.execute(select(*_COLUMNS).where(which)).one_or_none()
    if row is None:
        raise NotFound(f"no token {token_id}; list them to see which there are")
    return _token(row)


def check(store: Store, text: str) -> TokenRecord | Why:
    """Return the token of a text, or why it is not taken."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return Why.UNKNOWN
    with store.reading() as connection:
        query = select(*_COLUMNS, Token.digest).where(Token.id == int(found[1]))
        row = connection.execute(query).one_or_none()
        now = attempts.now(connection)
    # Found by its number and compared in constant time: how long it takes tells nothing of it.
    if row is None or not hmac.compare_digest(row.digest, _digest(found[2])):
        return Why.UNKNOWN
    token = _token(row)
    return _refusal(token, now) or token


def taken(store: Store, token_id: int) -> bool:
    """Return whether a token that was checked before is taken still."""
    with store.reading() as connection:
        row = connection.execute(select(*_COLUMNS).where(Token.id == token_id)).one_or_none()
        return row is not None and _refusal(_token(row), attempts.now(connection)) is None


def use(store: Store, token: TokenRecord) -> None:
    """Note that a token was used; more often than every minute is not noted."""
    with store.writing() as connection:
        now = attempts.now(connection)
        connection.execute(update(Token).where(Token.id == token.id).values(used=now))


def search_of(store: Store, trial_id: int) -> str | None:
    """Return the name of the search that a trial is of; None where there is no such trial."""
    query = select(Search.name).join(Study, Study.search_id == Search.id)
    with store.reading() as connection:
        name: str | None = connection.scalar(
            query.join(Trial, Trial.study_id == Study.id).where(Trial.id == trial_id)
        )
    return name


_COLUMNS = (
    Token.id,
    Token.name,
    Token.scope,
    Token.search,
    Token.created,
    Token.expires,
    Token.revoked,
    Token.used,
)


def _token(row: Any) -> TokenRecord:
    values = {column.name: getattr(row, column.name) for column in _COLUMNS}
    return TokenRecord(**{**values, "scope": Scope(row.scope)})


def _refusal(token: TokenRecord, now: datetime) -> Why | None:
    if token.revoked is not None:
        return Why.REVOKED
    return Why.EXPIRED if token.expires is not None and token.expires <= now else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def _lasting(days: float) -> timedelta:
    if not (math.isfinite(days) and 0 < days <= LONGEST_DAYS):
        raise SpecError(f"days must be above 0 and at most {LONGEST_DAYS}, got {days:g}")
    return timedelta(days=days)
