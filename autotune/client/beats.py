"""Signs of life of the trials that a client holds, from a thread, while its loop is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from autotune.client.wire import Wire
from autotune.errors import AutotuneError, LeaseLost

PATIENCE = 5.0  # seconds that the last sign of life may take


class Beats:
    """Keeps leases of one client.

    Args:
        wire: The way to the service.
        lost: Called, in the thread, with the address of a lease that is over, and why.
    """

    def __init__(self, wire: Wire, lost: Callable[[str, str], None]) -> None:
        self._wire, self._lost = wire, lost
        self._held: dict[str, float] = {}  # seconds between signs of life, by lease
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, lease: str, every: float) -> None:
        """Keep a lease, with a sign of life ``every`` so many seconds."""
        with self._lock:
            self._held[lease] = every
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="autotune beats", daemon=True)
            self._thread.start()

    def drop(self, lease: str) -> bool:
        """Keep a lease no more; return whether it was kept until now."""
        with self._lock:
            return self._held.pop(lease, None) is not None

    def close(self) -> None:
        """Send no more."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._stop.wait(self._pause()):
            for lease in list(self._held):
                self._beat(lease)

    def _pause(self) -> float:
        with self._lock:
            return min(self._held.values(), default=1.0)

    def _beat(self, lease: str) -> None:
        # What is not answered now is tried again at the next; what is refused, the loop is told.
        with suppress(AutotuneError):
            try:
                self._wire.once("POST", f"{lease}/beat")
            except LeaseLost as error:
                if self.drop(lease):
                    self._lost(lease, str(error))
