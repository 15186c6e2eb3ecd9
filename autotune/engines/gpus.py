"""Give each worker of a machine its own GPU, by a lock that the system frees if it dies."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

VISIBLE = "CUDA_VISIBLE_DEVICES"
_HELD: list[IO[str]] = []  # open until the process ends


def claim() -> str | None:
    """Make one GPU that no other worker uses visible to this process; return its name.

    Returns None with fewer than two GPUs to choose from, or if all are taken.
    """
    devices = _devices()
    if len(devices) < 2:
        return None
    for device in devices:
        if _locked(device):
            os.environ[VISIBLE] = device
            return device
    return None


def _devices() -> list[str]:
    given = os.environ.get(VISIBLE)
    if given is not None:
        return [device.strip() for device in given.split(",") if device.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def _locked(device: str) -> bool:
    path = Path(tempfile.gettempdir()) / f"autotune-gpu-{_user()}-{device}.lock"
    file = path.open("w")
    try:
        taken = lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        taken = False
    if taken:
        _HELD.append(file)
    else:
        file.close()
    return taken


def _user() -> int | str:
    return os.getuid() if hasattr(os, "getuid") else getpass.getuser()
