"""Memory of this machine as its system tells it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Memory(NamedTuple):
    """Memory of a device, in bytes."""

    free: int
    total: int


def of_host() -> Memory | None:
    """Return the memory of the CPU; None where the system does not say."""
    with suppress(OSError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found = dict(re.findall(r"^(MemAvailable|MemTotal):\s*(\d+) kB", text, re.M))
        if len(found) == 2:
            return Memory(1024 * int(found["MemAvailable"]), 1024 * int(found["MemTotal"]))
    return None
