"""An optimizer's space as a spec changes it, and the settings to try first in it."""

from __future__ import annotations

from autotune import optimizers, spaces
from autotune.setting import Setting
from autotune.spaces import DEFAULT_WARMUP, Space
from autotune.studies.spec import SearchSpec


def space_of(spec: SearchSpec, optimizer: str) -> Space:
    """Return an optimizer's space with the spec's changes; its own ones win over everybody's."""
    own = optimizers.space(optimizer)
    defaults = optimizers.defaults(optimizer)
    mine = spec.space.get(optimizer, {})
    shared = {key: value for key, value in spec.space.items() if key not in spec.optimizers}
    # A change for all optimizers concerns those that have the parameter.
    known = {*own, *defaults, *spaces.encode(defaults, DEFAULT_WARMUP), "timescale"}
    theirs = {key: value for key, value in shared.items() if key in known}
    return spaces.build(own, defaults, {**theirs, **mine})


def presets_of(optimizer: str, space: Space) -> list[Setting]:
    """Return the settings to try first, each once; the optimizer's default leads."""
    found: list[Setting] = []
    for entry in optimizers.presets(optimizer):
        hyper = {k: v for k, v in entry.items() if k not in {"origin", "warmup"}}
        warmup = entry.get("warmup", DEFAULT_WARMUP)
        setting = space.preset(hyper, warmup, f"preset:{entry['origin']}")
        if all((s.hyper, s.warmup) != (setting.hyper, setting.warmup) for s in found):
            found.append(setting)
    return found
