"""What the driver of GPUs tells of them without starting any: by NVML, its own library.

Where there is none, as beside ROCm, another process asks torch.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"  # the GPUs that a process may use, in the order of their indices


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU as its driver describes it."""

    name: str
    capability: tuple[int, int]
    driver: str
    memory: tuple[int, int]  # free and all, in bytes, when it was asked


def cards(visible: str | None) -> tuple[Card, ...]:
    """Return the GPUs of a process, in the order of their indices there.

    Args:
        visible: The value of CUDA_VISIBLE_DEVICES, or None where it is not set.
    """
    try:
        library = _Nvml()
        return tuple(library.card(handle) for handle in library.handles(visible))
    except (OSError, AttributeError):
        return _asked(visible)  # ROCm and some small boards have no NVML; a UUID may be cut short


_ASK = """
import json, torch
from torch import cuda
one = lambda i: dict(name=cuda.get_device_name(i), capability=cuda.get_device_capability(i),
                     driver=str(torch.version.hip or ""), memory=cuda.mem_get_info(i))
print(json.dumps([one(i) for i in range(cuda.device_count())]))
"""


@lru_cache(maxsize=4)
def _asked(visible: str | None) -> tuple[Card, ...]:
    """Ask torch in another process, which takes seconds."""
    environment = os.environ if visible is None else {**os.environ, VISIBLE: visible}
    command = [sys.executable, "-c", _ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    told = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else []
    return tuple(
        Card(
            name=one["name"],
            capability=(one["capability"][0], one["capability"][1]),
            driver=one["driver"],
            memory=(one["memory"][0], one["memory"][1]),
        )
        for one in told
    )


class _Bytes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Nvml:
    """The driver's library; raises OSError where it is missing or does not answer."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1" if os.name == "posix" else "nvml.dll")
        self._ask("nvmlInit_v2")

    def handles(self, visible: str | None) -> list[ctypes.c_void_p]:
        """Return the GPUs that are named, up to the first that is not there, as CUDA does."""
        count = ctypes.c_uint()
        self._ask("nvmlDeviceGetCount_v2", ctypes.byref(count))
        names = map(str, range(count.value)) if visible is None else visible.split(",")
        found: list[ctypes.c_void_p] = []
        for name in map(str.strip, names):
            if name.lstrip("-").isdecimal() and not 0 <= int(name) < count.value:
                break
            found.append(self._handle(name))
        return found

    def card(self, handle: ctypes.c_void_p) -> Card:
        """Describe a GPU."""
        major, minor, memory = ctypes.c_int(), ctypes.c_int(), _Bytes()
        pair = (ctypes.byref(major), ctypes.byref(minor))
        self._ask("nvmlDeviceGetCudaComputeCapability", handle, *pair)
        self._ask("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        return Card(
            name=self._text("nvmlDeviceGetName", handle),
            capability=(major.value, minor.value),
            driver=self._text("nvmlSystemGetDriverVersion"),
            memory=(memory.free, memory.total),
        )

    def _handle(self, name: str) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        place = ctypes.byref(handle)
        if name.isdecimal():
            self._ask("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(int(name)), place)
        else:  # GPU-... or MIG-...
            self._ask("nvmlDeviceGetHandleByUUID", name.encode(), place)
        return handle

    def _text(self, function: str, *of: Any) -> str:
        text = ctypes.create_string_buffer(96)
        self._ask(function, *of, text, ctypes.c_uint(len(text)))
        return text.value.decode(errors="replace")

    def _ask(self, function: str, *arguments: Any) -> None:
        call: Callable[..., int] = getattr(self._library, function)
        code = call(*arguments)
        if code:
            raise OSError(code, f"{function} returned {code}")
