"""Heartbeats of a process whose own loop trains: sent from a thread, while that loop is away."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress

from autotune.errors import StorageError
from autotune.search.turns import BEATS
from autotune.studies.attempts import lease
from autotune.studies.records import Command
from autotune.studies.store import Store

PATIENCE = 5.0  # seconds that the last heartbeat may take


class Heartbeats:
    """Keeps the leases of one process's trials, with a connection of its own.

    Args:
        url: Where the search is stored.
        search: Its id.
        worker: Name of this process in the store.
    """

    def __init__(self, url: str, search: int, worker: str) -> None:
        self._url, self._search, self._worker = url, search, worker
        self._held: Mapping[int, int] = {}
        self._command: Command | None = None
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, trials: Mapping[int, int]) -> None:
        """Keep the leases of these attempts, by trial, instead of those before."""
        with self._lock:
            self._held = dict(trials)
        if trials and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="autotune leases", daemon=True)
            self._thread.start()

    def command(self) -> Command | None:
        """Return the command that came since the last call; None where none did."""
        with self._lock:
            command, self._command = self._command, None
        return command

    def close(self) -> None:
        """Send no more."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        # What the database does not take now is said at the next heartbeat.
        while not self._stop.wait(_pause()):
            with suppress(StorageError), Store(self._url) as store:
                self._beat(store)
                while not self._stop.wait(_pause()):
                    self._beat(store)

    def _beat(self, store: Store) -> None:
        with self._lock:
            held = dict(self._held)
        if not held:
            return
        # What another process took over is refused, with a notice, when it is reported.
        answer = store.beat(self._search, self._worker, held)
        with self._lock:
            self._command = answer.command


def _pause() -> float:
    return lease().total_seconds() / BEATS
