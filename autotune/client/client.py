"""The client of a service: its trials for a loop, its searches and verdicts as JSON."""

from __future__ import annotations

import math
import os
import secrets
import signal
import socket
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote

from autotune.api.loop import Loop
from autotune.api.ranks import Ranks
from autotune.api.trial import Trial, by_step
from autotune.client.leases import Leases
from autotune.client.states import FOLDER
from autotune.client.wire import PATIENCE, Wire
from autotune.errors import SpecError

TOKEN = "AUTOTUNE_TOKEN"  # the variable that holds a token

if TYPE_CHECKING:
    import httpx2


class Client:
    """A service of searches, for loops of the caller's own.

    Args:
        url: Its address, as ``http://host:8400``.
        token: What it knows this client by, as ``autotune token create`` made it; None:
            ``AUTOTUNE_TOKEN``, if it is set.
        states: Folder for what ``trial.save`` is given; None: ``autotune-states`` in the working
            directory. Workers that share it go on with each other's trials.
        patience: Seconds that the service may be away: calls are made again until then.
        transport: How requests are sent, an ``httpx2.BaseTransport``; None: over the network.

    Raises:
        MissingExtra: httpx2 is not installed.
        SpecError: The address or the token cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        states: str | os.PathLike[str] | None = None,
        patience: float = PATIENCE,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        given = token if token is not None else os.environ.get(TOKEN) or None
        self._wire = Wire(url, given, patience, transport)
        self._states = Path(FOLDER if states is None else states)
        weakref.finalize(self, self._wire.close).atexit = False
        self._workers: set[tuple[str, str]] = set()  # search and name of those that ask now

    def trials(
        self, search: str, worker: str | None = None, *, can_pause: bool = True
    ) -> Iterator[Trial]:
        """Yield trials of a search to train until it is over, as ``autotune.Tuner`` does.

        A thread gives signs of life. When the body of the loop ends, its trial is told; what the
        body raises is raised, as Ctrl-C, SIGTERM and ``break`` leave the loop, and that trial is
        taken again. Under an initialised ``torch.distributed`` group all ranks iterate together,
        and the first alone talks to the service.

        Args:
            search: Its name.
            worker: Name of this worker, of no other at the same time. One that is started again
                under its name gets back the trial that it held. None: a new name each time.
            can_pause: Whether the loop can go on with a trial later, from what ``trial.save`` was
                given; else ``report`` says at some steps, at once and for good, whether it goes on.

        Raises:
            NotFound: The service has no such search.
            SpecError: The worker's name asks already, or the search trains its trials by itself.
            Unavailable: The service was away for longer than ``patience``.
        """
        ranks = Ranks()
        made: list[Leases] = []  # on the first rank alone

        def begin() -> None:
            made.append(self._begin(search, worker or _name(), can_pause))

        ranks.agree(begin)
        try:
            with _terminable():
                source = made[0] if made else None
                yield from Loop(ranks=ranks, owner=self, source=source, finish=_nothing)
        finally:
            for leases in made:
                leases.close()
                self._workers.discard((leases.search, leases.worker))

    def begin(self, search: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a search, or state again what it is; return it as the service shows it.

        Args:
            search: Its name.
            body: What ``PUT /v1/searches/{name}`` takes: task, optimizers, budget, seeds.

        Raises:
            SpecError: The service cannot use it.
            AlreadyThere: The name is another search's.
        """
        return dict(self._wire.call("PUT", _path(search), body).body)

    def search(self, search: str) -> dict[str, Any]:
        """Return a search as the service shows it; raises NotFound."""
        return dict(self._wire.call("GET", _path(search)).body)

    def recommendation(self, search: str, optimizer: str) -> dict[str, Any]:
        """Return what a study recommends, with its interval and verdict.

        Raises:
            NotFound: There is no such study.
            NothingUsable: Nothing was judged yet.
        """
        path = f"{_path(search)}/studies/{quote(optimizer, safe='')}/recommendation"
        return dict(self._wire.call("GET", path).body)

    def add_trial(  # what a trial is made of
        self,
        search: str,
        optimizer: str,
        hyper: Mapping[str, Any],
        losses: Mapping[int, Any],
        *,
        warmup: float | None = None,
        origin: str | None = None,
    ) -> int:
        """Tell a run of a search's task that was never asked for, as ``Tuner.add_trial`` does.

        Args:
            search: Its name.
            optimizer: One that it searches.
            hyper: Keyword arguments of that; the others had its defaults.
            losses: Validation loss by step, of a full run with the schedule of a trial; the last
                alone is enough. One that is not finite says that it diverged.
            warmup: Fraction of the steps spent warming up; None: 0.1.
            origin: Where it is from; it is shown.

        Returns:
            The trial's number.

        Raises:
            AlreadyThere: The search is over.
            NotFound: The service has no such search or study.
            SpecError: It cannot be a trial of that search.
        """
        points = [
            {"step": step, "loss": loss if math.isfinite(loss) else None}
            for step, loss in by_step(losses).items()
        ]
        body: dict[str, Any] = {"hyper": dict(hyper), "warmup": warmup, "points": points}
        body |= {"diverged": True} if points and points[-1]["loss"] is None else {}
        body |= {} if origin is None else {"origin": origin}
        path = f"{_path(search)}/studies/{quote(optimizer, safe='')}/trials"
        return int(self._wire.call("POST", path, body).body["number"])

    def close(self) -> None:
        """Let go of the connections."""
        self._wire.close()

    def _begin(self, search: str, worker: str, pauses: bool) -> Leases:
        if (search, worker) in self._workers:
            raise SpecError(
                f"worker '{worker}' asks for trials of search '{search}' already; give each loop "
                "a name of its own, or none"
            )
        leases = Leases(self._wire, search, worker, self._states, pauses=pauses)
        self._workers.add((search, worker))
        return leases

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._wire.url!r})"


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the loop as SystemExit does, so that its trial is given back.

    A handler of the caller's own stays as it is, and other threads have none.
    """
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        with suppress(ValueError):  # closed by another thread
            if signal.getsignal(signal.SIGTERM) is _leave:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _name() -> str:
    """Return a worker's name that no other has."""
    host = "".join(c if (c.isalnum() and c.isascii()) or c in "._-" else "-" for c in _host())
    return f"{host[:100]}-{os.getpid()}-{secrets.token_hex(3)}"


def _host() -> str:
    return socket.gethostname() or "worker"


def _path(search: str) -> str:
    return f"/v1/searches/{quote(search, safe='')}"


def _nothing() -> None:
    """Leave what is to be closed to the loop's end."""
