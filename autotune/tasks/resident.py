"""Batches of a seed made once, and kept where they are computed with.

Trials of one seed train on the same batches by design, so all but the first find them made. On two
cores this is a third of a step of a small network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from autotune.devices import CPU, Device, apart
from autotune.tasks.kept import MOST_BYTES, sizes, written

SHARE = 8  # at most this part of the free memory is taken
AHEAD = 2  # batches that are on their way to a device while it computes

Make = Callable[[int], Any]  # the batch of a step


@dataclass(frozen=True)
class _Kept:
    batch: Any
    written: Any  # what it was when it was made


@dataclass
class _Shelf:
    """The batches of one seed, and the bytes of each piece of memory that they lie in."""

    batches: dict[int, _Kept] = field(default_factory=dict)  # by step
    pieces: dict[int, int] = field(default_factory=dict)  # by address
    full: bool = False  # whether one did not fit

    @property
    def size(self) -> int:
        """The bytes that it takes."""
        return sum(self.pieces.values())


class Resident:
    """Batches by seed and step, those of the seeds used last as far as there is room.

    A batch that a model or a loss has changed is made again. One that does not fit, or that could
    change unseen, is made each time; on a device it is brought there while the step before runs.

    Args:
        device: Where batches are kept.
        most: Bytes to hold; None: an eighth of the device's free memory, at most 512 MiB.
        ahead: Whether batches take long to make, so that the next ones are begun early.
    """

    def __init__(
        self, device: Device = CPU, most: int | None = None, *, ahead: bool = True
    ) -> None:
        self.device = device
        self._early = ahead and device.waits
        self._most = most
        self._shelves: dict[int, _Shelf] = {}  # by seed, the last in use last
        self._validation: _Kept | None = None
        self._ahead = _Ahead(device)

    @cached_property
    def most(self) -> int:
        """The bytes that it may hold."""
        if self._most is not None:
            return self._most
        memory = self.device.memory()
        return MOST_BYTES if memory is None else min(MOST_BYTES, memory.free // SHARE)

    def batch(self, seed: int, step: int, make: Make) -> Any:
        """Return the batch of a step on the device: the kept one, else what ``make`` returns."""
        shelf = self._shelves.pop(seed, None) or _Shelf()
        self._shelves[seed] = shelf
        kept = shelf.batches.get(step)
        if kept is not None:
            if written([kept.batch]) == kept.written:
                return apart(kept.batch)
            shelf = self._shelves[seed] = _Shelf()
        if shelf.full and self._early:
            return self._ahead.take((seed, step), make)
        batch = self.device.move(make(step))
        self._keep(shelf, step, batch)
        return apart(batch)

    def validation(self, make: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        """Return the validation batches on the device, likewise."""
        kept = self._validation
        if kept is None or kept.written is None or written(kept.batch) != kept.written:
            batches = [self.device.move(batch) for batch in make()]
            self._validation = kept = _Kept(batches, written(batches))
        found: Sequence[Any] = kept.batch
        return found

    def _keep(self, shelf: _Shelf, step: int, batch: Any) -> None:
        """Keep a batch if there is room, or room can be made of other seeds' batches."""
        sign = written([batch])
        if sign is None:
            return
        pieces = sizes(batch)
        new = sum(size for place, size in pieces.items() if place not in shelf.pieces)
        shelf.full = shelf.full or shelf.size + new > self.most
        if shelf.full:
            return
        self._make_room(shelf.size + new)
        shelf.batches[step] = _Kept(batch, sign)
        shelf.pieces.update(pieces)

    def _make_room(self, needed: int) -> None:
        """Drop the seeds that were used longest ago until what the last one needs fits."""
        *others, _ = self._shelves
        held = sum(self._shelves[seed].size for seed in others)
        for seed in others:
            if held + needed > self.most:
                held -= self._shelves.pop(seed).size


class _Ahead:
    """Batches made in a thread while the device computes with those before."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._coming: dict[tuple[int, int], Future[Any]] = {}  # by seed and step

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "batches")

    def take(self, which: tuple[int, int], make: Make) -> Any:
        """Return a batch by seed and step, and begin to make those that come next."""
        seed, step = which
        wanted = [(seed, step + i) for i in range(AHEAD + 1)]
        self._coming = {
            one: self._coming.get(one) or self._thread.submit(self._bring, make, one[1])
            for one in wanted
        }
        return self._coming.pop(which).result()

    def _bring(self, make: Make, step: int) -> Any:
        return self._device.move(self._device.pinned(make(step)))
