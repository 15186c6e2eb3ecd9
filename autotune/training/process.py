"""What a process does before it trains, wherever it was started.

One thread, because two OpenMP pools on the same cores spin against each other (30 times slower,
measured); the libraries, because no trial's clock should see the seconds they take to load.
"""

from __future__ import annotations

import signal
from functools import cache


def single_threaded() -> None:
    """Let this process train on one thread, and take no time over numbers that are almost 0."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@cache
def start_worker() -> None:
    """Make this process fit for trials, once, however many it runs."""
    # Ctrl-C may reach the whole process group: the coordinator decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from autotune.optimizers import create

    single_threaded()
    # The first optimizer of a process loads what all of them need.
    create("adamw", [torch.nn.Parameter(torch.zeros(1))])
