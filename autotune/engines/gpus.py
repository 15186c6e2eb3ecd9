"""Places on the GPUs of this machine: each holds one trial at a time.

A place is a lock on a file, which the system frees when the process that holds it dies: searches
and workers that were started apart take different ones. Only processes of one user see each other's
locks.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from autotune import devices
from autotune.devices import VISIBLE, Device
from autotune.errors import SpecError

MEMORY = 0.92  # of a GPU, for the tensors of its trials: contexts and libraries need the rest


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where on a GPU a trial runs.

    Args:
        gpu: The GPU as CUDA_VISIBLE_DEVICES names it: a number, or the UUID of a GPU or of a part
            of one (MIG).
        share: The fraction of its memory that the trial may take: what needs more fails by itself
            and takes nothing from its neighbours.
    """

    gpu: str
    share: float

    @property
    def alone(self) -> Place:
        """The same GPU for one trial that has it to itself."""
        return Place(gpu=self.gpu, share=MEMORY)

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables of a process that runs trials here; read when it loads torch."""
        # What is freed and asked for again in other sizes would lie unused in pieces otherwise.
        chosen = any(name in os.environ for name in ALLOCATOR)
        allocator = {} if chosen else {ALLOCATOR[0]: "expandable_segments:True"}
        return {VISIBLE: self.gpu, **allocator}


# Where torch's allocator is configured, the new name first; what a user has set stays.
ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def names(device: Device) -> list[str]:
    """Return the GPUs that trials of a device may use, as CUDA_VISIBLE_DEVICES names them."""
    if device.kind != "cuda":
        return []
    given = os.environ.get(VISIBLE)
    count = len(devices.gpus(given))
    known = map(str, range(count)) if given is None else map(str.strip, given.split(","))
    found = list(known)[:count]
    return found if device.index is None else [found[device.index]]


def limit(share: float) -> None:
    """Let this process take no more than a fraction of its GPU's memory, if it has a GPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)


class Places:
    """The places that this process holds until it closes them or ends.

    Args:
        gpus: GPUs to take places on, as CUDA_VISIBLE_DEVICES names them.
        per_gpu: Places on each.
        workers: Places to take, if so many are free; of all GPUs as many as possible.

    Raises:
        SpecError: None is free.
    """

    def __init__(self, gpus: Sequence[str], per_gpu: int, workers: int) -> None:
        self._files: list[IO[str]] = []
        self.held: list[Place] = []
        for number, gpu in ((number, gpu) for number in range(per_gpu) for gpu in gpus):
            if len(self.held) < workers and (file := _locked(gpu, number)):
                self._files.append(file)
                self.held.append(Place(gpu=gpu, share=MEMORY / per_gpu))
        self._what = _said(len(gpus), per_gpu)
        self._more = f"--per-gpu {per_gpu + 1}"
        self._workers, self._all = workers, len(gpus) * per_gpu
        if not self.held:
            raise SpecError(
                f"{self._what}, and other searches or workers of this machine have taken all of "
                f"that; wait until one has ended, or give {self._more}"
            )

    @property
    def notice(self) -> str:
        """Where trials run, in a sentence, and why fewer at the same time than were asked for."""
        count = len(self.held)
        if count == self._workers:
            names = " and ".join(dict.fromkeys(place.gpu for place in self.held))
            return f"trials run on GPU {names}"
        taken = "" if count == self._all else f" and {self._all - count} of them elsewhere"
        runs = "1 runs at a time" if count == 1 else f"{count} run at the same time"
        return (
            f"{self._workers} workers were asked for, but {self._what}{taken}, so {runs}; "
            f"{self._more} allows more"
        )

    def close(self) -> None:
        """Free the places; may be called twice."""
        for file in self._files:
            file.close()
        self._files.clear()


def _said(gpus: int, per_gpu: int) -> str:
    """Say how many trials the GPUs take."""
    trials = "1 trial" if per_gpu == 1 else f"{per_gpu} trials"
    return f"the GPU takes {trials}" if gpus == 1 else f"{gpus} GPUs take {trials} each"


def _locked(gpu: str, number: int) -> IO[str] | None:
    """Return the open file of a place, locked; None if another process holds it."""
    # Where a system has no locks it warns when it is imported, which most never need.
    from filelock import lock_descriptor

    name = f"autotune-gpu-{_user()}-{quote(gpu, safe='')}-{number}.lock"  # MIG's may have slashes
    file = (Path(tempfile.gettempdir()) / name).open("w")
    try:
        taken = lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        taken = False
    if not taken:
        file.close()
    return file if taken else None


def _user() -> int | str:
    return os.getuid() if hasattr(os, "getuid") else getpass.getuser()
