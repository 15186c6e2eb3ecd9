"""The optimizers' spaces with a spec's changes, and the settings to try first in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from autotune import optimizers
from autotune.errors import UnknownName
from autotune.optimizers import options, registry
from autotune.registry import unknown
from autotune.space import controlled, spaces
from autotune.space.coordinates import DEFAULT_WARMUP
from autotune.space.spaces import Candidate, Choice, Range, Space
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
    takers = names.union(*map(_takes, spec.optimizers))
    for key in _shared(spec):
        if key not in takers and not controlled.is_word(key):
            raise UnknownName(unknown("parameter", key, names))
    return {
        optimizer: replace(space_of(spec, optimizer), published=tuple(published.get(optimizer, ())))
        for optimizer in spec.optimizers
    }


def space_of(spec: SearchSpec, optimizer: str) -> Space:
    """Return an optimizer's space with the spec's changes: its own win over the shared ones."""
    takes, shared = _takes(optimizer), _shared(spec).items()
    changes = {key: value for key, value in shared if key in takes or controlled.is_word(key)}
    for key, value in spec.space.get(optimizer, {}).items():
        changes[key] = _over(changes.get(key), value)
    return changed(optimizer, changes)


def changed(optimizer: str, changes: Mapping[str, Any]) -> Space:
    """Return an optimizer's space with changes by parameter; a controller's are among them."""
    defaults = {**optimizers.defaults(optimizer, changes), **controlled.defaults(changes)}
    found = optimizers.space(optimizer, changes)
    return spaces.build(found, defaults, controlled.spelled(changes))


def over_runs(found: Mapping[str, Space], steps: int) -> dict[str, Space]:
    """Return spaces in which the averages that have to fit into a run of so many steps do.

    Ranges that the user gave stay.
    """
    return {name: _over_run(name, space, steps) for name, space in found.items()}


def _over_run(optimizer: str, space: Space, steps: int) -> Space:
    parameters = dict(space.parameters)
    for name, parts in registry.half_lives(optimizer, _allowed(space)).items():
        if name in parameters and name not in space.asked:
            parameters[name] = _decays(steps, *parts)
    return replace(space, parameters=parameters)


def _allowed(space: Space) -> dict[str, Any]:
    """Return what a space fixes, and what it chooses from."""
    chosen = {k: list(p.options) for k, p in space.parameters.items() if isinstance(p, Choice)}
    return {**chosen, **space.fixed}


def _decays(steps: int, shortest: float, longest: float) -> Range:
    """Return the range of one minus a decay, between half-lives that are parts of a run."""
    least = max(shortest * steps, 1.0)
    most = max(longest * steps, 2.0 * least)
    return Range(low=1.0 - 0.5 ** (1.0 / most), high=1.0 - 0.5 ** (1.0 / least), log=True)


def _takes(optimizer: str) -> set[str]:
    """Return the names that an optimizer's space takes, or refuses with the name to use instead."""
    may_set = registry.may_set(optimizer)
    decays = {option for option in options.DECAYS if options.coordinate(option) in may_set}
    return _known(optimizer).union(optimizers.defaults(optimizer), may_set, decays)


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
