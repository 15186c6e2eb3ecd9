"""Which forms an optimizer has beside its plain one, read from its source: no torch is loaded.

The class says so, in ``forms = ("win", "win2")``, written out; else its first base that does.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from autotune.optimizers.options import FILTERS, LOOKAHEAD

AfterWarmup = Literal["cosine", "constant"]

# What stands behind a name, and the form that it asks for: an ``acceleration``, or a filter.
ENDINGS = {
    "win": "win",
    "win2": "win2",
    "sf": "schedule-free",
    "nema": LOOKAHEAD,
    **{word: word for word in FILTERS},
}
USUAL = ("win", "win2")
_CONSTANT = frozenset({"schedule-free"})  # accelerations that no learning rate falls under


def forms(entry: EntryPoint) -> tuple[str, ...]:
    """Return the endings that the name of an optimizer may have."""
    loaded = getattr(sys.modules.get(entry.module), entry.attr, None)
    found: tuple[str, ...] | None = getattr(loaded, "forms", None)
    return _declared(entry.module, entry.attr) if found is None else found


def arguments(form: str) -> dict[str, str]:
    """Return the keyword argument that a form is."""
    if form == "none":
        return {}
    return {"gradient_filter": form} if form in FILTERS else {"acceleration": form}


def schedule(accelerations: Iterable[str]) -> AfterWarmup:
    """Return what a learning rate does after its warm-up: ``cosine`` to 0, or ``constant``."""
    return "cosine" if _CONSTANT.isdisjoint(accelerations) else "constant"


def has_modes(optimizer: Any) -> bool:
    """Return whether ``train()`` and ``eval()`` tell an optimizer, or those of a class, what is on.

    Other people's optimizers with both average their weights.
    """
    return all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval"))


@cache
def _declared(module: str, name: str) -> tuple[str, ...]:
    tree = _tree(module)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            inherited = _declared(module, bases[0]) if bases else USUAL
            own = _written(node)
            return inherited if own is None else own
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _declared(node.module, alias.name)
    return USUAL


def _tree(module: str) -> ast.Module:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ast.Module(body=[], type_ignores=[])
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _written(node: ast.ClassDef) -> tuple[str, ...] | None:
    """Return what the body of a class sets ``forms`` to."""
    for each in node.body:
        targets = each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)]
        value = getattr(each, "value", None)
        if value is not None and any(isinstance(t, ast.Name) and t.id == "forms" for t in targets):
            try:
                return tuple(ast.literal_eval(value))
            except ValueError:
                raise ValueError(
                    f"forms of {node.name} must be written out, as ('win', 'win2'), got "
                    f"{ast.unparse(value)}"
                ) from None
    return None
