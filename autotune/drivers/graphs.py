"""Graphs of a GPU: work recorded once, and queued again with one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Graph:
    """One piece of work on the GPU of this process, by CUDA or ROCm.

    A replay meets the tensors that the work was recorded with, and whatever they hold then.
    """

    def __init__(self) -> None:
        import torch

        self._graph = torch.cuda.CUDAGraph()

    def record(self, work: Callable[[], None]) -> None:
        """Record work, and do it once.

        Raises:
            RuntimeError: It asks the device for a number, or does what else no graph can hold.
        """
        import torch

        # Other threads may bring batches to the device meanwhile: only this one is watched.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            work()
        self._graph.replay()

    def replay(self) -> None:
        """Do it again."""
        self._graph.replay()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Queue work on a stream of its own, in order with what comes before and after.

        What is recorded later must have run so before: autograd remembers streams of gradients.
        """
        import torch

        side, current = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            yield
        current.wait_stream(side)
