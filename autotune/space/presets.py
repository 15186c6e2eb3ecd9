"""The optimizers' spaces with a spec's changes, and the settings to try first in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from autotune import optimizers
from autotune.errors import UnknownName
from autotune.registry import unknown
from autotune.space import spaces
from autotune.space.coordinates import DEFAULT_WARMUP
from autotune.space.spaces import Candidate, Space
from autotune.studies.spec import SearchSpec

KNOWN = 2  # an optimizer's own settings that are always tried, whatever is known of the network
NOTHING: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({})


def spaces_of(
    spec: SearchSpec, published: Mapping[str, Sequence[Mapping[str, Any]]] = NOTHING
) -> dict[str, Space]:
    """Return each optimizer's space; raises UnknownName for a parameter that none of them has.

    ``published``: the presets of the task, by optimizer.
    """
    names = set().union(*map(_known, spec.optimizers))
    takers = names.union(*map(optimizers.defaults, spec.optimizers))
    for key in _shared(spec):
        if key not in takers:
            raise UnknownName(unknown("parameter", key, names))
    return {
        optimizer: replace(space_of(spec, optimizer), published=tuple(published.get(optimizer, ())))
        for optimizer in spec.optimizers
    }


def space_of(spec: SearchSpec, optimizer: str) -> Space:
    """Return an optimizer's space with the spec's changes: its own win over the shared ones."""
    defaults = optimizers.defaults(optimizer)
    takes = _known(optimizer).union(defaults)
    changes = {key: value for key, value in _shared(spec).items() if key in takes}
    for key, value in spec.space.get(optimizer, {}).items():
        changes[key] = _over(changes.get(key), value)
    return spaces.build(optimizers.space(optimizer), defaults, changes)


def _known(optimizer: str) -> set[str]:
    return spaces.known(optimizers.space(optimizer), optimizers.defaults(optimizer))


def _shared(spec: SearchSpec) -> dict[str, Any]:
    """Return the changes for all optimizers that have the parameter."""
    return {key: value for key, value in spec.space.items() if key not in spec.optimizers}


def _over(shared: Any, own: Any) -> Any:
    """Merge an optimizer's change into the shared one: each may give one end of a range."""
    if isinstance(shared, Mapping) and isinstance(own, Mapping):
        return {**shared, **own}
    return own


def presets_of(optimizer: str, space: Space) -> list[Candidate]:
    """Return the settings to try first, without duplicates, the optimizer's default first.

    What was published for the network comes after the settings that are always tried.
    """
    found: list[Candidate] = []
    for entry in _entries(optimizer, space):
        hyper = {k: v for k, v in entry.items() if k not in {"origin", "warmup"}}
        warmup = entry.get("warmup", DEFAULT_WARMUP)
        preset = space.preset(hyper, warmup, f"preset:{entry['origin']}")
        if not any(preset.setting.trains_like(other.setting) for other in found):
            found.append(preset)
    return found


def _entries(optimizer: str, space: Space) -> Iterator[Mapping[str, Any]]:
    own = optimizers.presets(optimizer)
    yield from own[:KNOWN]
    yield from space.published
    yield from own[KNOWN:]
