"""Every random draw starts from a seed that is a function of what it is for.

Nothing carries a generator's state from one draw to the next, so a resumed search draws what the
uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib


def derive(*parts: int | str) -> int:
    """Return a seed in [0, 2**31) that any change of ``parts`` changes."""
    return _hashed("\x1f".join(str(part) for part in parts)) >> 33


def wide(*parts: int | str) -> int:
    """Return a seed of 63 bits for data, models and batches, which ``parts`` decide alone.

    It is no wider ``derive``: what was recorded follows from both as they are.
    """
    return _hashed(repr(parts)) >> 1


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def training(search_seed: int, index: int) -> int:
    """Return the seed of a run: initialisation and batch order of seed index ``index``."""
    return derive("run", search_seed, index)


def study(search_seed: int, optimizer: str) -> int:
    """Return the seed of a study's proposals."""
    return derive("study", search_seed, optimizer)
