"""A model's parameters by part, as controllers tell parts apart: its modules, or its layers.

A part has a name, without what wrappers put into it. A parameter that several share belongs where
it is registered first; those that are not trained belong nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn import Module, Parameter

from autotune.optimizers.nearest import near
from autotune.optimizers.wrappers import bare, holders

Parts = dict[str, list[Parameter]]

_WITHIN = "parametrizations"  # what torch.nn.utils.parametrize puts below a layer


def modules(model: Module) -> Parts:
    """Return the parameters of the modules that a model is made of, in their order.

    Those are its children; of a model with one child that has parameters, that child's, and so on.
    Parameters that belong to none are left out.
    """
    named, depth = _named(model), 1
    longest = max((len(path) for path, _ in named), default=0)
    found = _at(named, depth)
    while len(found) == 1 and depth + 1 < longest:
        depth += 1
        found = _at(named, depth) or found
    return found


def chosen(model: Module, names: Sequence[str]) -> Parts:
    """Return the parameters of modules with these names, in the order of the names.

    A module inside another one that is named too has its own. Raises ValueError for a name that no
    module with parameters has.
    """
    named = _named(model)
    known = {".".join(path[:k]) for path, _ in named for k in range(1, len(path))}
    for name in names:
        if name not in known:
            hint = near(str(name), sorted(known))
            raise ValueError(f"no module with parameters to train is called {name!r}{hint}")
    found: Parts = {name: [] for name in names}
    for path, p in named:
        inside = [".".join(path[:k]) for k in range(len(path) - 1, 0, -1)]
        home = next((name for name in inside if name in found), None)
        if home is not None:
            found[home].append(p)
    return found


def layers(model: Module) -> Parts:
    """Return the parameters of each module that has some itself, in their order."""
    found: Parts = {}
    for path, p in _named(model):
        own = path[:-1] if _WITHIN not in path else path[: path.index(_WITHIN)]
        found.setdefault(".".join(own), []).append(p)
    return found


def _named(model: Module) -> list[tuple[list[str], Parameter]]:
    holding = holders(model)
    named = model.named_parameters()
    return [(bare(name, holding).split("."), p) for name, p in named if p.requires_grad]


def _at(named: Sequence[tuple[list[str], Parameter]], depth: int) -> Parts:
    found: Parts = {}
    for path, p in named:
        if len(path) > depth:
            found.setdefault(".".join(path[:depth]), []).append(p)
    return found
