"""What a benchmark ran on: device, memory, versions and commit; no names of hosts."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import autotune
from autotune import environment

_ROOT = Path(autotune.__file__).resolve().parents[1]


def default() -> str:
    """Return the device to measure on when none is named."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def name(device: str) -> str:
    """Return what the device calls itself."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """Return the commit of this checkout, marked when files differ from it; None in no checkout.

    AUTOTUNE_COMMIT says it where a copy without its history is measured.
    """
    if "AUTOTUNE_COMMIT" in os.environ:
        return os.environ["AUTOTUNE_COMMIT"]
    if not (_ROOT / ".git").exists():
        return None
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if head and changed else head or None


def _git(*arguments: str) -> str:
    with suppress(OSError):
        command = ["git", "-C", str(_ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def facts(device: str) -> dict[str, Any]:
    """Return what decides how fast this machine is, the moment, and the code that ran."""
    return {
        "device": name(device),
        "date": datetime.now(UTC).replace(microsecond=0),
        "commit": commit(),
        "cuda": torch.version.cuda if device == "cuda" else None,
        **environment.facts(),
    }


def label(device: str) -> str:
    """Return a name for a folder of results: device, day and commit."""
    device_name = re.sub(r"[^a-z0-9]+", "-", name(device).lower()).strip("-")
    return f"{device_name}-{datetime.now(UTC):%Y%m%d}-{commit() or 'release'}"


def free(device: str) -> int | None:
    """Return the bytes of memory that may be taken; None where the system does not say."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
        if found:
            return 1024 * int(found[1])
    return None


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def gpu_memory() -> Iterator[Callable[[], int | None]]:
    """Give what tells the most memory taken since, above what was taken before."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    yield lambda: torch.cuda.max_memory_allocated() - before


@contextmanager
def no_memory() -> Iterator[Callable[[], int | None]]:
    """Give what tells nothing: a CPU's allocator keeps no count."""
    yield lambda: None
