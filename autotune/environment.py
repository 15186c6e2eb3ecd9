"""What a search ran on: versions and machine, kept with it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

PACKAGES = (
    "adan-autotune", "torch", "triton", "numba", "numpy", "optuna", "scikit-learn", "transformers",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Return versions of what decides numerics, and the kind of machine; no names of hosts."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        # What backend='auto' picks for parameters on the CPU, where tasks train.
        "optimizer_backend": "numba" if find_spec("numba") else "torch",
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
