"""What a process's code shares, such as the working directory: the user's code has its own.

A user's file may move the process, as a script may: ``os.chdir`` at its top, another default dtype,
edits of ``os.environ``. Such changes hold for all of that file's code and for nothing else: they
are put back whenever the code of a run is left, and made again when it is entered.
"""

from __future__ import annotations

import locale
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from autotune.errors import SIGNALS
from autotune.tasks import content

T = TypeVar("T")

State = dict[str, Any]  # by name of what is shared


@dataclass(frozen=True)
class _Shared:
    """A thing that all code of a process shares.

    Args:
        get: Reads it.
        put: Sets it to what ``get`` returned.
        change: Takes what it was and what it is to what has to be made ``again``.
        again: Makes that change again; None where a change holds for no later code.
    """

    get: Callable[[], Any]
    put: Callable[[Any], object]
    change: Callable[[Any, Any], Any] = lambda before, after: after
    again: Callable[[Any], object] | None = None


def _directory() -> str | None:
    with suppress(OSError):  # it was removed
        return os.getcwd()
    return None


def _move(directory: str | None) -> None:
    if directory is not None:
        with suppress(OSError):
            os.chdir(directory)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _edited(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    both = before.keys() | after.keys()
    return {name: after.get(name) for name in both if before.get(name) != after.get(name)}


def _edit(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _set_environment(values: Mapping[str, str]) -> None:
    _edit(_edited(dict(os.environ), values))


def _added(before: list[str], after: list[str]) -> list[str]:
    if before and after[-len(before) :] == before:
        return after[: -len(before)]
    return [folder for folder in after if folder not in before]


def _set_path(folders: list[str]) -> None:
    sys.path[:] = folders


def _extend_path(folders: list[str]) -> None:
    if sys.path[: len(folders)] != folders:
        sys.path[:0] = folders


def _set_arguments(arguments: list[str]) -> None:
    sys.argv[:] = arguments


def _set_device(device: torch.device) -> None:
    # With the usual device every call of torch would pass through a mode that changes nothing.
    torch.set_default_device(None if device == torch.device("cpu") else device)


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # tells Python that its caches of filters are stale
    warnings.filters[:] = filters  # type: ignore[index]


def _set_locale(name: str) -> None:
    with suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, name)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in SIGNALS}


def _set_handlers(handlers: Mapping[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None:  # one that Python did not set
                signal.signal(number, handler)


def _streams() -> tuple[Any, Any]:
    return sys.stdout, sys.stderr


def _set_streams(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams


def _kept(get: Callable[[], Any], put: Callable[[Any], object]) -> _Shared:
    return _Shared(get, put, again=put)


_SHARED = {
    "directory": _kept(_directory, _move),
    "umask": _kept(_umask, os.umask),
    "environment": _Shared(lambda: dict(os.environ), _set_environment, _edited, _edit),
    "path": _Shared(lambda: list(sys.path), _set_path, _added, _extend_path),
    "modules": _kept(content.hiding, content.show),
    "arguments": _kept(lambda: list(sys.argv), _set_arguments),
    "locale": _kept(lambda: locale.setlocale(locale.LC_ALL), _set_locale),
    "dtype": _kept(torch.get_default_dtype, torch.set_default_dtype),
    "device": _kept(torch.get_default_device, _set_device),
    "warnings": _kept(lambda: list(warnings.filters), _set_filters),
    # Equal curves need equal threads, and only our handlers and streams end a search in order.
    "threads": _Shared(torch.get_num_threads, torch.set_num_threads),
    "signals": _Shared(_handlers, _set_handlers),
    "streams": _Shared(_streams, _set_streams),
}
_ours: State | None = None  # while the user's code is executed, what it found


def taken() -> State:
    """Return how everything stands that code shares."""
    return {name: shared.get() for name, shared in _SHARED.items()}


def changes(before: State) -> State:
    """Return what has changed since, as far as it holds for later code of the same file."""
    return {
        name: shared.change(before[name], now)
        for name, shared in _SHARED.items()
        if shared.again is not None and (now := shared.get()) != before[name]
    }


def put_back(state: State, *, only_ours: bool = False) -> None:
    """Set what has changed since; ``only_ours`` what holds for no later code."""
    for name, shared in _SHARED.items():
        if (shared.again is None or not only_ours) and shared.get() != state[name]:
            shared.put(state[name])


def make_again(changed: State) -> None:
    """Make changes again."""
    for name, value in changed.items():
        again = _SHARED[name].again
        if again is not None:
            again(value)


class Surroundings:
    """What the code of one run has changed of its process; made again whenever it goes on."""

    def __init__(self) -> None:
        self._changed: State = {}

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Execute code of the run; what it changes is noted and put back. Within a run: nothing."""
        global _ours  # noqa: PLW0603  there is one process
        if _ours is not None:
            yield
            return
        _ours = found = taken()
        try:
            make_again(self._changed)
            yield
        finally:
            self._changed, _ours = changes(found), None
            put_back(found)

    def stepwise(self, values: Iterator[T]) -> Iterator[T]:
        """Yield what an iterator of the run yields; between two values the process is as it was."""
        while True:
            with self.entered():
                try:
                    value = next(values)
                except StopIteration:
                    return
            yield value


@contextmanager
def outside() -> Iterator[None]:
    """Execute code of ours in the middle of a run's, such as what reads a path we were given."""
    if _ours is None:
        yield
        return
    theirs = taken()
    put_back(_ours)
    try:
        yield
    finally:
        put_back(theirs)
