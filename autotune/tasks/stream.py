"""Training batches that are read as they are needed: a function of the seed gives any iterable.

One is read a step and none is kept. What reading draws by chance follows seed and step, so a run
that goes on elsewhere reads what it would have read; it passes over what it has had, or hands the
iterable its state where that has ``state_dict`` and ``load_state_dict``, as torchdata's
StatefulDataLoader. An iterable that ends begins its next epoch by another call.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeGuard

from torch import Tensor

from autotune.data.seeds import seeded
from autotune.devices import CPU, Device
from autotune.errors import SpecError
from autotune.tasks.likeness import leaves

EPOCH = "epoch"  # the argument of a callable that is told which epoch it is, from 0
_PLAIN = (bool, int, float, str, bytes, type(None))


def is_stream(train: Any) -> TypeGuard[Callable[..., Any]]:
    """Tell whether training batches are given as a callable."""
    return callable(train) and not isinstance(train, Iterable)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What gives the batches of a seed.

    Args:
        text: What names the task, for messages.
        train: The callable, given the seed, and ``epoch`` by name if it takes that.
        seed: The seed.
    """

    text: str
    train: Callable[..., Any]
    seed: int

    def opened(self, epoch: int) -> Any:
        """Return the iterable of an epoch."""
        given = {EPOCH: epoch} if _takes(self.train, EPOCH) else {}
        found = self.train(*[self.seed] * _takes_one(self.train), **given)
        if not isinstance(found, Iterable):
            kind = "None" if found is None else type(found).__name__
            raise SpecError(
                f"train of {self.text} must return an iterable of batches for a seed, got {kind}"
            )
        return found

    def empty(self, epoch: int) -> SpecError:
        """Return the error of an epoch without a batch."""
        which = "no batch" if not epoch else f"no batch in epoch {epoch}"
        return SpecError(
            f"train of {self.text} yields {which}; return a new iterable at each call, as one that "
            "was read before is empty"
        )


def _takes_one(function: Callable[..., Any]) -> bool:
    """Whether a callable may be given the seed: one without arguments has no use for it."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return True
    first = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    return any(each.name != EPOCH and each.kind not in first for each in parameters)


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except ValueError:
        return False


class Reader:
    """Batches one after another, epoch after epoch.

    Attributes:
        place: How many batches were read.
    """

    def __init__(self, source: Source) -> None:
        self.place = 0
        self._source, self._epoch = source, 0
        self._iterable: Any = None
        self._iterator: Iterator[Any] | None = None

    def next(self) -> Any:
        """Return the next batch."""
        with seeded("batch", self._source.seed, self.place):
            if self._iterator is None:
                self._open()
            try:
                batch = next(self._iterator)  # type: ignore[arg-type]
            except StopIteration:
                batch = self._first_of_next()
        self.place += 1
        return batch

    def skip(self, place: int) -> None:
        """Pass over batches until so many were read."""
        while self.place < place:
            self.next()

    def state(self) -> dict[str, Any] | None:
        """Return where it is, for ``load``; None where the iterable cannot be told."""
        if self._iterable is None or not hasattr(self._iterable, "load_state_dict"):
            return None
        own = self._iterable.state_dict()
        return {"place": self.place, EPOCH: self._epoch, "own": own} if _plain(own) else None

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where another reader was."""
        with seeded("batch", self._source.seed, state["place"]):
            self._epoch = state[EPOCH]
            self._iterable = self._source.opened(self._epoch)
            self._iterable.load_state_dict(state["own"])
            self._iterator = iter(self._iterable)
        self.place = state["place"]

    def close(self) -> None:
        """End what reads, such as the processes of a DataLoader; what it raises says nothing."""
        iterator, iterable = self._iterator, self._iterable
        self._iterator = self._iterable = None
        for name in ("close", "_shutdown_workers"):
            with suppress(Exception):
                getattr(iterator, name)()
        # A loader with persistent workers would go on with those that were ended.
        if iterator is not None and getattr(iterable, "_iterator", None) is iterator:
            iterable._iterator = None

    def _open(self) -> None:
        self._iterable = self._source.opened(self._epoch)
        self._iterator = iter(self._iterable)

    def _first_of_next(self) -> Any:
        """Begin the next epoch and return its first batch."""
        if not self.place:
            raise self._source.empty(0)
        self._epoch += 1
        self._open()
        try:
            return next(self._iterator)  # type: ignore[arg-type]
        except StopIteration:
            raise self._source.empty(self._epoch) from None


class Stream:
    """The batches of a run by step, each read when it is asked for.

    Args:
        source: What gives them.
        device: Where they are trained on.
    """

    def __init__(self, source: Source, device: Device = CPU) -> None:
        self._source, self._device = source, device
        self._main, self._again = Reader(source), Reader(source)

    def batch(self, step: int) -> Any:
        """Return the batch of a step, from 0; those before it are passed over."""
        self._restart()
        return self._moved(self._main, step)

    def again(self, step: int) -> Any:
        """Return the batch of a step that is had once more, read anew beside the others."""
        if self._again.place > step:
            self._restart()
        return self._moved(self._again, step)

    def _moved(self, reader: Reader, step: int) -> Any:
        reader.skip(step)
        batch = reader.next()
        return self._device.move(self._device.pinned(batch)) if self._device.waits else batch

    def state(self) -> dict[str, Any] | None:
        """Return where it is; None where only reading again leads there."""
        return self._main.state()

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where another stream of this seed was."""
        self._main.load(state)

    def close(self) -> None:
        """End what reads."""
        self._main.close()
        self._again.close()

    def _restart(self) -> None:
        if self._again.place:
            self._again.close()
            self._again = Reader(self._source)


def first(source: Source) -> tuple[Any, str]:
    """Return the first batch, and a text that identifies the data; no other batch is asked for."""
    reader = Reader(source)
    try:
        batch = reader.next()
        return batch, fingerprint(reader._iterable) or content(batch)
    finally:
        reader.close()


def fingerprint(data: Any) -> str | None:
    """Return what a data set, or that of a loader, says that it is, as Hugging Face's do."""
    for one in (data, getattr(data, "dataset", None)):
        found = getattr(one, "_fingerprint", None)
        if isinstance(found, str):
            return found
    return None


def content(batch: Any) -> str:
    """Return a hash of a batch: of the first numbers of each of its tensors."""
    summed = hashlib.sha256()
    for numbers in leaves(batch):
        summed.update(numbers.tobytes())
    return summed.hexdigest()[:16]


def _plain(value: Any) -> bool:
    """Tell whether a file holds a value without code to make it again."""
    if isinstance(value, Mapping):
        return all(_plain(part) for item in value.items() for part in item)
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return isinstance(value, (*_PLAIN, Tensor))
