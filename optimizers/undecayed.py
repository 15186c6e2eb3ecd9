"""Which parameters weight decay leaves out: by shape, by layer, and by what a model names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from inspect import getattr_static
from typing import Any, cast

from torch.jit import ScriptModule
from torch.nn import Module, Parameter
from torch.nn.utils.parametrize import ParametrizationList

from autotune.optimizers import sharded
from autotune.optimizers.wrappers import bare, holders, inner

# Layers by class name, as torch's own and those of models: LlamaRMSNorm, LayerNorm2d, ...
_NORM = re.compile(r"Norm(alization)?(Act)?([1-3][dD])?$")
_BIAS = re.compile(r"^bias(_|$)|_bias$")
# What prune and spectral_norm, and weight_norm, make of a parameter's name.
_BEHIND = re.compile(r"_(orig|g|v)$")
# timm's models name these whether they have them or not.
_OPTIONAL = ("", "cls_token", "dist_token")


def ids(model: Module) -> set[int]:
    """Return the identities of a model's parameters that do not decay.

    Raises:
        TypeError: ``no_weight_decay()`` of a module returns something else than names.
        ValueError: It names what the module does not have, or FSDP has cut the model, so that
            shapes do not tell.
    """
    _refuse_cut(model)
    by_kind = (id(p) for name, p in _named(model) if p.ndim <= 1 or _BIAS.search(_leaf(name)))
    return {*by_kind, *_of_layers(model), *_of_names(model)}


def _named(model: Module) -> Iterator[tuple[str, Parameter]]:
    return model.named_parameters(remove_duplicate=False)


def _leaf(name: str) -> str:
    """Return the last part of a name, or what torch.nn.utils.parametrize computes from it."""
    parts = name.split(".")
    return parts[-2] if parts[-3:-2] == ["parametrizations"] else parts[-1]


def _of_layers(model: Module) -> Iterator[int]:
    """Yield the gains of normalisation layers, of any shape, and those of weight normalisation."""
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        if any(map(_NORM.search, _kinds(module))):
            yield from _of_norm(module)
        if isinstance(module, ParametrizationList) and _is_weight_norm(module):
            yield id(own["original0"])
        yield from (id(p) for name, p in own.items() if _is_gain(name) and f"{name[:-2]}_v" in own)


def _kinds(module: Module) -> Iterator[str]:
    """Yield the names of a module's classes; one of TorchScript's has only its own as text."""
    yield from (cls.__name__ for cls in type(module).__mro__)
    if isinstance(module, ScriptModule):
        yield str(module.original_name)


def _of_norm(module: Module) -> Iterator[int]:
    yield from (id(p) for p in module.parameters(recurse=False))
    for name, child in module.named_children():
        if name == "parametrizations":
            yield from map(id, child.parameters())


def _is_gain(name: str) -> bool:
    """Whether torch.nn.utils.weight_norm may have named a parameter."""
    return name.endswith("_g")


def _is_weight_norm(module: ParametrizationList) -> bool:
    return any(type(step).__name__ == "_WeightNorm" for step in module)


def _of_names(model: Module) -> Iterator[int]:
    """Yield the parameters that any module of the model names in ``no_weight_decay()``."""
    for module in model.modules():
        # Of its own: wrappers that pass attributes on would have other names for the same.
        if getattr_static(module, "no_weight_decay", None):
            given: Any = module.no_weight_decay  # a property or a set, where it is no method
            yield from _found(module, _listed(module, given() if callable(given) else given))


def _listed(module: Module, given: Any) -> list[str]:
    """Return names as a list; a single one is refused, as it would be taken letter by letter."""
    names = [None] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"no_weight_decay of {type(module).__name__} must give a set of names, "
            f"got {given!r}; put the names into a set"
        )
    return cast("list[str]", names)


def _found(module: Module, names: Iterable[str]) -> Iterator[int]:
    """Yield the parameters with these names in a module, or below modules with them."""
    holding = holders(module)
    known: dict[str, list[int]] = {}
    behind: dict[str, list[int]] = {}
    for full, p in _named(module):
        plain = bare(full, holding)
        for name in {full, plain}:
            for prefix in _prefixes(name):
                known.setdefault(prefix, []).append(id(p))
        behind.setdefault(_computed(plain), []).append(id(p))
    for name in names:
        plain = bare(name, holding)
        found = known.get(name) or known.get(plain)
        if found is None and not _is_empty(module, plain):
            raise ValueError(
                f"no_weight_decay() must name parameters of {type(module).__name__}, got {name!r}, "
                "which it does not have; correct the name, or take it out"
            )
        # Of what is there and is no parameter: what it is computed from, if anything.
        yield from found or behind.get(plain, [])


def _computed(name: str) -> str:
    """Return what torch.nn.utils computes from a parameter: parametrize, prune and older norms."""
    parts = name.split(".")
    if parts[-3:-2] == ["parametrizations"]:
        return ".".join([*parts[:-3], parts[-2]])
    return _BEHIND.sub("", name)


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def _is_empty(module: Module, name: str) -> bool:
    """Whether a name is of something that is there and has no parameter: None, or a buffer."""
    if name in _OPTIONAL:
        return True
    *path, leaf = name.split(".")
    owner = inner(module)
    for part in path:
        child = owner._modules.get(part)
        if child is None:
            return False
        owner = inner(child)
    return hasattr(owner, leaf)


def _refuse_cut(model: Module) -> None:
    """Refuse FSDP's flat parameters: each is a piece of many tensors, in one dimension."""
    if sharded.pieces(model.parameters()):
        raise ValueError(
            "split and layerwise need whole shapes, got a model that FSDP has flattened; "
            "make the groups before it is wrapped, or use fully_shard"
        )
