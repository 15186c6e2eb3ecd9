"""The first step in a new process: our imports and compilation, and apart from them PyTorch's.

PyTorch loads its compiler when a process makes its first optimizer, whoever's that is.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from autotune.errors import AutotuneError

if TYPE_CHECKING:
    from autotune.bench.step.implementations import OwnOrPeer
    from autotune.bench.step.workload import Workload

# Where compilers keep what they compiled; in a new folder they find nothing.
_CACHES = ("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME")


@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """Seconds of a first step, of another with what this one left on disk, and of PyTorch's own."""

    step: float
    again: float
    torch: float


def measure(implementation: OwnOrPeer, workload: Workload) -> FirstStep:
    """Take an implementation's first step in two new processes."""
    with tempfile.TemporaryDirectory(prefix="autotune-bench-") as folder:
        (torch, step), (_, again) = (_once(implementation, workload, folder) for _ in range(2))
    return FirstStep(step=step, again=again, torch=torch)


def _once(implementation: OwnOrPeer, workload: Workload, folder: str) -> tuple[float, float]:
    """Return PyTorch's own seconds and the step's, in a process that caches in a folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    ours, theirs = context.Pipe()
    arguments = (theirs, implementation, workload, folder)
    process = context.Process(target=_child, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        told: tuple[float, float] | str = ours.recv()
    except EOFError:
        told = "its process died"
    finally:
        process.terminate()
        process.join()
    if isinstance(told, str):
        raise AutotuneError(f"the first step of '{implementation.name}' failed: {told}")
    return told


def _child(pipe: Connection, implementation: OwnOrPeer, workload: Workload, folder: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells this process when to end
    os.environ.update(dict.fromkeys(_CACHES, folder))
    try:
        pipe.send(_timed(implementation, workload))
    except Exception as error:  # told by the parent, which knows where
        pipe.send(f"{type(error).__name__}: {error}")


def _timed(implementation: OwnOrPeer, workload: Workload) -> tuple[float, float]:
    import torch

    from autotune.bench.step.timing import HostClock
    from autotune.bench.step.workload import Tensors

    torch.set_num_threads(workload.threads)
    tensors = Tensors(workload.tensors, workload.torch_dtype, workload.device)
    tensors.renew()

    def step() -> None:
        implementation.build(tensors.params).step()
        if workload.device == "cuda":
            torch.cuda.synchronize()

    loaded = HostClock().time(lambda: torch.optim.SGD(tensors.params))
    return loaded.seconds, HostClock().time(step).seconds
