"""Registered names, by group of entry points; ours are declared as those of plugins are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from autotune import optimizers
from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.optimizers.foreign import find
from autotune.optimizers.registry import check_name, is_foreign
from autotune.optimizers.registry import unknown as unknown_optimizer
from autotune.studies.names import suggestion

_KINDS = {
    "autotune.arguments": "form of arguments",
    "autotune.controllers": "controller",
    "autotune.engines": "engine",
    "autotune.exports": "export",
    "autotune.optimizers": "optimizer",
    "autotune.pruners": "pruner",
    "autotune.rules": "rule",
    "autotune.samplers": "sampler",
    "autotune.tasks": "model",
}
_IN_FILE = re.compile(r"(?:\./)?([\w/]+)\.py:(\w+)")  # as a model in a file is named
FAMILIES = ".families"  # suffix of the group whose entries make something of a name as optuna:CLASS


class NotInstalledHere(MissingExtra, ValueError):
    """A stored search has an optimizer whose package this machine does not have."""


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        taken = entries.setdefault(entry.name, entry)
        if taken.value != entry.value:
            raise SpecError(
                f"{_KINDS.get(group, group)} '{entry.name}' is registered twice, "
                f"as {taken.value} and as {entry.value}; uninstall one"
            )
    return entries


def names(group: str) -> list[str]:
    """Return the registered names of a group, sorted."""
    return sorted(_entries(group))


def load(group: str, name: str) -> Any:
    """Return what is registered as ``name``; an unknown name suggests the nearest.

    For ``family:rest``, the entry ``family`` of the group's families makes something of the rest.
    """
    family, colon, rest = name.partition(":")
    families = _entries(group + FAMILIES)
    if colon and family in families:
        return families[family].load()(rest)
    entry = _entries(group).get(name)
    if entry is None:
        raise UnknownName(_unknown(group, name))
    return entry.load()


def in_family(group: str, name: str) -> bool:
    """Return whether what stands before a colon in ``name`` is a family of the group."""
    family, colon, _ = name.partition(":")
    return bool(colon) and family in _entries(group + FAMILIES)


def check(group: str, name: str) -> None:
    """Refuse a name that ``load`` would refuse, without loading it if it is registered."""
    if name not in _entries(group):
        load(group, name)


def check_optimizer(name: str) -> None:
    """Refuse an optimizer that is neither registered nor another package's by its dotted name.

    Raises:
        UnknownName: Nothing is registered under that name.
        MissingExtra: The package of a dotted name is not installed.
        SpecError: What it names is no optimizer that a search can run.
    """
    if name in optimizers.names():
        return
    if found := _IN_FILE.fullmatch(name):
        dotted = f"{found[1].replace('/', '.')}.{found[2]}"
        raise UnknownName(f"unknown optimizer '{name}'; a class of a file is named as '{dotted}'")
    if "." not in name:
        raise UnknownName(unknown_optimizer(name))
    try:
        check_name(name)
    except ImportError as error:
        raise MissingExtra(str(error)) from error
    except ValueError as error:
        raise SpecError(str(error)) from error


def check_installed(search: str, optimizer: str) -> None:
    """Refuse what a stored search has for an optimizer, if nothing registers it here.

    Another package's, by its dotted name, is asked for where it is needed.

    Raises:
        NotInstalledHere: A MissingExtra, and a ValueError as of any unknown optimizer.
    """
    if not is_foreign(optimizer) and optimizer not in optimizers.names():
        raise NotInstalledHere(
            f"search '{search}' was run with optimizer '{optimizer}', which is not installed here; "
            "install the package that registers it"
        )


def check_different(optimizers: Iterable[str]) -> None:
    """Refuse two dotted names of one class; raises SpecError."""
    known: dict[type, str] = {}
    for name in filter(is_foreign, optimizers):
        other = known.setdefault(find(name), name)
        if other != name:
            raise SpecError(f"{other} and {name} are one optimizer; name it once")


def foreign(optimizer: str) -> bool:
    """Return whether an optimizer is another package's; nothing is imported for it."""
    return is_foreign(optimizer)


def _unknown(group: str, name: str) -> str:
    families = {name: entry.load() for name, entry in _entries(group + FAMILIES).items()}
    further = [other for family in families.values() for other in family.names()]
    known = [*names(group), *(f"{name}:{family.form}" for name, family in families.items())]
    return unknown(_KINDS.get(group, group), name, known, further)


def unknown(kind: str, name: str, known: Iterable[str], further: Iterable[str] = ()) -> str:
    """Return the error for an unknown name; ``further`` names are suggested, but not listed."""
    listed = sorted(known)
    hint = suggestion(name, [*listed, *further])
    return f"unknown {kind} '{name}'{hint} (known: {', '.join(listed) or 'none'})"


def near(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest of what is known, or nothing."""
    return suggestion(name, known)
