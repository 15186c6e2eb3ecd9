"""The client for ``async`` code: the same trials, called in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self, TypeVar

from autotune.api.trial import Trial
from autotune.client.client import Client

PATIENCE = 5.0  # seconds that a loop which is left waits for its trial to be given back

T = TypeVar("T")


class AsyncTrial:
    """A trial whose calls of the service are awaited; all else is as `autotune.Trial` has it.

    Args:
        trial: The trial.
        pool: Its loop's thread: calls keep their order.
    """

    def __init__(self, trial: Trial, pool: ThreadPoolExecutor) -> None:
        self.trial, self._pool = trial, pool

    async def report(self, step: int, loss: Any, accuracy: Any = None) -> bool:
        """Report the validation loss after ``step`` steps; return whether to train on."""
        return await self._run(lambda: self.trial.report(step, loss, accuracy))

    async def save(self, state: Mapping[str, Any], step: int | None = None) -> None:
        """Save what the trial needs to go on after a pause."""
        await self._run(lambda: self.trial.save(state, step))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "trial":  # before __init__, as a copy is
            raise AttributeError(name)
        return getattr(self.trial, name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return await self._run(lambda: self.trial.__exit__(kind, error, trace))

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


class AsyncClient:
    """A service of searches for ``async`` loops; its arguments are those of `Client`."""

    def __init__(self, url: str, token: str | None = None, **more: Any) -> None:
        self._client = Client(url, token, **more)

    async def trials(
        self, search: str, worker: str | None = None, *, can_pause: bool = True
    ) -> AsyncIterator[AsyncTrial]:
        """Yield trials of a search to train until it is over, as `Client.trials` does."""
        each = iter(self._client.trials(search, worker, can_pause=can_pause))
        pool = ThreadPoolExecutor(1, "autotune")
        loop, trial = asyncio.get_running_loop(), None
        try:
            while (trial := await loop.run_in_executor(pool, next, each, None)) is not None:
                yield AsyncTrial(trial, pool)
                trial = None  # told; the next one is asked for
        finally:
            # After whatever the thread still does: a trial that comes too late is given back.
            closed = pool.submit(_close, each)
            pool.shutdown(wait=False)
            if trial is not None:  # not awaited: a loop that ends cancels what it still awaits
                wait({closed}, timeout=PATIENCE)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _close(each: Any) -> None:
    each.close()
