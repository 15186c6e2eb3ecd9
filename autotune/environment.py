"""What a search ran on: versions and machine, kept with it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
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
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
