"""What a search ran on: versions and machine, kept with it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from typing import Any

from autotune.devices import CPU, GPU, Device
from autotune.optimizers.registry import is_foreign, schedule

SCHEDULES = "schedules"  # by optimizer, among the facts of a search that has other people's

PACKAGES = (
    "adan-autotune", "torch", "triton", "numba", "numpy", "optuna", "scikit-learn", "transformers",
)  # fmt: skip


def facts(device: Device = CPU, optimizers: Iterable[str] = ()) -> dict[str, Any]:
    """Return versions of what decides numerics, and the kind of machine; no names of hosts.

    Args:
        device: Where trials compute.
        optimizers: Names; the packages of other people's have versions too.
    """
    packages = dict.fromkeys([*PACKAGES, *distributions(optimizers)])
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        # What backend='auto' picks for parameters there.
        "optimizer_backend": _BACKENDS[device.kind] if _there(device.kind) else "torch",
        **device.facts(),
        "packages": {name: found for name in packages if (found := _version(name))},
        **_schedules(optimizers),
    }


# The library that steps parameters on a kind of device; torch steps those on all others.
_BACKENDS = {CPU.kind: "numba", GPU: "triton"}


def _there(kind: str) -> bool:
    return kind in _BACKENDS and find_spec(_BACKENDS[kind]) is not None


def _schedules(optimizers: Iterable[str]) -> dict[str, Mapping[str, str]]:
    """Return what the rate of other people's does after the warm-up: only their classes know."""
    theirs = {name: schedule(name) for name in optimizers if is_foreign(name)}
    return {SCHEDULES: theirs} if theirs else {}


def distributions(optimizers: Iterable[str]) -> list[str]:
    """Return the names under which the packages of dotted optimizers are installed, sorted."""
    modules = {name.partition(".")[0] for name in optimizers if is_foreign(name)} - {"torch"}
    if not modules:
        return []  # looking through all that is installed takes a while
    homes = packages_distributions()
    return sorted({home for module in modules for home in homes.get(module, ())})


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
