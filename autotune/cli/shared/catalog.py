"""Registered names with a line about each, read from the source files without importing them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from autotune import optimizers, registry

GROUPS = {
    "optimizers": "autotune.optimizers",
    "controllers": "autotune.controllers",
    "models": "autotune.tasks",
    "exports": "autotune.exports",
    "samplers": "autotune.samplers",
    "pruners": "autotune.pruners",
    "engines": "autotune.engines",
    "rules": "autotune.rules",
}
_FORMS = {
    "win": "{name} with Win: a copy of the weights takes longer steps and is averaged in.",
    "win2": "{name} with Win2: two copies of the weights step further and are averaged in.",
    "sf": "{name}, Schedule-Free: an average of the weights takes the place of a schedule.",
    "nema": "{name} with EMA-Nesterov: gradients are taken ahead, along an average of past moves.",
    "mars": "{name} with MARS: gradients get a share of their change, and are clipped by tensor.",
    "grokfast": "{name} with Grokfast: the slow part of gradients is amplified.",
}


def names(kind: str) -> list[str]:
    """Return the names of a kind that a spec or a command accepts."""
    return optimizers.names() if kind == "optimizers" else registry.names(GROUPS[kind])


def descriptions(kind: str) -> dict[str, str]:
    """Return the names of a kind, each with the first line of its docstring."""
    entries = {entry.name: entry for entry in entry_points(group=GROUPS[kind])}
    return {name: _line(name, entries) for name in names(kind)}


def _line(name: str, entries: Mapping[str, EntryPoint]) -> str:
    if name in entries:
        module = entries[name].module
        alone = sum(entry.module == module for entry in entries.values()) == 1
        return _summary(entries[name], alone)
    # Optimizers have other forms, by endings of their names that are not registered.
    base, _, ending = name.rpartition("-")
    return _FORMS[ending].format(name=_summary(entries[base]).partition(":")[0].rstrip("."))


def _summary(entry: EntryPoint, alone: bool = True) -> str:
    try:
        spec = find_spec(entry.module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        return "not installed completely"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    # A class has a docstring of its own, and so has a function that is not alone in its file; for
    # one that is, the docstring of the file is taken.
    kinds = ast.ClassDef if alone else ast.ClassDef | ast.FunctionDef
    own = {node.name: node for node in tree.body if isinstance(node, kinds)}
    text = ast.get_docstring(own.get(entry.attr, tree)) or ""
    return text.partition("\n")[0]
