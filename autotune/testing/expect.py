"""Failures in words: pytest explains an ``assert`` only in the tests it collects itself."""

from __future__ import annotations


def expect(holds: bool, otherwise: str) -> None:
    """Fail a test with a sentence unless it holds."""
    if not holds:
        raise AssertionError(otherwise)


def same(what: str, actual: object, expected: object) -> None:
    """Fail a test unless two values are equal."""
    expect(actual == expected, f"{what} must be {expected!r}, got {actual!r}")
