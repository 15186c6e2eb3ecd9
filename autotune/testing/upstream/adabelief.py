"""AdaBelief's authors' package, adabelief-pytorch 0.2.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DECAYS = {(True, False): "decoupled", (True, True): "fixed"}


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments; ``fixed_decay`` means nothing to a coupled one."""
    found = dict(hyper)
    beside = bool(found.pop("weight_decouple")), bool(found.pop("fixed_decay"))
    return "adabelief", {**found, "decay": _DECAYS.get(beside, "coupled")}
