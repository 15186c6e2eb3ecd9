"""Numbers below a vocabulary in two parts that share none, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune.errors import SpecError

Numbers = np.ndarray[Any, np.dtype[Any]]  # one dimension; it may lie in a file

HELD_OUT = 0.1  # share of a file without a part of its own to validate on: its end
_SEARCHED = 1 << 22  # numbers that are looked at together


@dataclass(frozen=True, kw_only=True)
class Part:
    """Tokens to train on, or to validate on.

    Args:
        numbers: The tokens in their order.
        where: What holds them, for a person.
        first: The place there of the first of them.
    """

    numbers: Numbers
    where: str
    first: int = 0

    def refuse(self, vocabulary: int) -> None:
        """Refuse a token beyond the vocabulary; raises SpecError with its place."""
        for start in range(0, len(self.numbers), _SEARCHED):
            self.check(self.numbers[start : start + _SEARCHED], vocabulary, start)

    def check(self, found: Numbers, vocabulary: int, start: int) -> None:
        """Refuse a token of ``found``, which begins at ``start`` of this part."""
        if not len(found) or (found.max() < vocabulary and found.min() >= 0):
            return
        place = int(np.flatnonzero((found >= vocabulary) | (found < 0))[0])
        raise SpecError(
            f"tokens must be below {vocabulary}, the vocabulary, got {found[place]} at place "
            f"{self.first + start + place} of {self.where}; state another as "
            "--data 'PATH?vocabulary=N', or their type as dtype=uint32"
        )


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A sequence to train on and one to validate on.

    Args:
        name: The data as ``--data`` takes it.
        vocabulary: Every token is below it.
        train: Tokens to train on.
        held_out: Tokens to validate on.
        identity: What tells it from other data: ``data_hash``, and how that was found.
    """

    name: str
    vocabulary: int
    train: Part
    held_out: Part
    identity: Mapping[str, str]

    def within(self, vocabulary: int, whose: str) -> Tokens:
        """Return these tokens if the vocabulary of a model holds theirs; raises SpecError."""
        if self.vocabulary > vocabulary:
            raise SpecError(
                f"the vocabulary of data '{self.name}' must be at most {vocabulary}, that of "
                f"{whose}, got {self.vocabulary}"
            )
        return self


def halves(numbers: Numbers, where: str) -> tuple[Part, Part]:
    """Return the beginning to train on and the end, which is held out."""
    cut = len(numbers) - round(HELD_OUT * len(numbers))
    train = Part(numbers=numbers[:cut], where=where)
    return train, Part(numbers=numbers[cut:], where=where, first=cut)
