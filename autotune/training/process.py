"""Prepare a process for training.

It uses one thread, because two OpenMP pools on the same cores block each other (30 times slower,
measured). It loads all libraries, so that loading them does not count as a trial's time.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def loading() -> Iterator[None]:
    """Load libraries, and never look for garbage among what they make.

    Python would look again and again while it loads them, which takes a sixth of a short search.
    """
    known, collects = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if collects:
            gc.enable()


def single_threaded() -> None:
    """Use one thread, and round numbers that are almost 0 to 0, which is faster."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@cache
def start_worker() -> None:
    """Prepare this process for trials; later calls do nothing."""
    with loading():
        import torch

        from autotune.optimizers import create

        single_threaded()
        # Making an optimizer loads the libraries that all of them need.
        create("adamw", [torch.nn.Parameter(torch.zeros(1))])
