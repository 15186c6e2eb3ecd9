"""What a search ran on: versions and machine, kept with it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
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


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return the versions in which a stored environment is not this one, in words."""
    before, now = theirs.get("packages", {}), ours["packages"]
    pairs = {name: (before.get(name), now.get(name)) for name in sorted({*before, *now})}
    pairs["python"] = (theirs.get("python"), ours["python"])
    return [
        f"{name} {old or 'missing'}, here is {new or 'none'}"
        for name, (old, new) in pairs.items()
        if old != new and theirs
    ]
