"""Parameter groups of a model: with and without weight decay, learning rates by depth."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from torch.nn import Module, ModuleList, Parameter, Sequential

from autotune.optimizers import check, undecayed
from autotune.optimizers.wrappers import bare, holders, inner

Named = list[tuple[str, Parameter]]

_LISTS = (ModuleList, Sequential)


def split(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return a model's parameters in two groups: with weight decay, and without.

    Without are biases, gains of normalisation layers (classes whose name ends in Norm, Norm1d and
    the like) and all other parameters of at most one dimension, and those that the model or a
    module in it names in ``no_weight_decay()``, as timm's models do. The names are relative to that
    module, and may leave out what DistributedDataParallel, torch.compile and other wrappers put
    into them; a module's name means all its parameters, and the name of a weight that is pruned,
    parametrized or normalised means what it is computed from. Embeddings decay. Frozen parameters
    are left out, and so is an empty group.

    Args:
        model: The module whose parameters are to be trained.
        weight_decay: Of the first group, at least 0; the second has 0.

    Raises:
        TypeError: ``model`` is not a module; its ``parameters()`` have no names. Or
            ``weight_decay`` is not a number, or ``no_weight_decay()`` returns no set of names.
        ValueError: ``weight_decay`` is out of its range, ``no_weight_decay()`` names what its
            module does not have, or FSDP has flattened the model.

    Example:
        >>> import torch
        >>> from autotune.optimizers import Adan, split
        >>> groups = split(torch.nn.Linear(2, 1), weight_decay=0.02)
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
        [(1, 0.02), (1, 0.0)]
        >>> optimizer = Adan(groups, lr=5e-3)
    """
    if not isinstance(model, Module):
        raise TypeError(
            f"split needs a model, as its parameters have names, got {type(model).__name__}; pass "
            "the model itself"
        )
    check.at_least_zero("weight_decay", weight_decay)
    named = list(model.named_parameters())
    return _decayed(named, check.plain(weight_decay), undecayed.ids(model))


def layerwise(
    model: Module, lr: float, decay_rate: float, weight_decay: float, *, blocks: str | None = None
) -> list[dict[str, Any]]:
    """Return groups whose learning rates fall from the head to the embeddings.

    With N blocks, depth k has the learning rate ``lr * decay_rate ** (N + 1 - k)``. Parameters
    before the first block have depth 0, those after the last one (the head) depth N + 1, and those
    between two blocks the depth of the second. If nothing follows the last block, its learning rate
    is ``lr``. Each depth is split by weight decay as in ``split``. A shared parameter belongs where
    it is registered first.

    Args:
        model: Its modules are taken in the order in which they were registered.
        lr: Learning rate of the head.
        decay_rate: Above 0 and at most 1; 0.65 to 0.75 is usual for fine-tuning a ViT.
        weight_decay: Weight decay of the parameters that ``split`` decays; at least 0.
        blocks: Pattern of module names, each match one block, as ``'encoder.stages.*.layers.*'``.
            None takes the members of every ModuleList and Sequential as blocks; if a member is
            such a list itself, its members instead.

    Raises:
        TypeError: A rate or a weight decay is not a number.
        ValueError: One is out of its range, the model has no such blocks, or ``split`` would
            refuse the model.
    """
    check.at_least_zero("lr", lr)
    check.at_least_zero("weight_decay", weight_decay)
    if not 0.0 < check.number("decay_rate", decay_rate) <= 1.0:
        raise ValueError(f"decay_rate must be above 0 and at most 1, got {decay_rate:g}")
    lr, weight_decay = check.plain(lr), check.plain(weight_decay)
    depths, exempt = _depths(model, blocks), undecayed.ids(model)
    return [
        {**group, "lr": lr * decay_rate ** (len(depths) - 1 - k)}
        for k, named in enumerate(depths)
        for group in _decayed(named, weight_decay, exempt)
    ]


def _decayed(named: Named, weight_decay: float, exempt: set[int]) -> list[dict[str, Any]]:
    matrices: list[Parameter] = []
    others: list[Parameter] = []
    for _, p in named:
        if p.requires_grad:
            (others if id(p) in exempt else matrices).append(p)
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _depths(model: Module, blocks: str | None) -> list[Named]:
    """Return the parameters of each depth, from the embeddings to the head."""
    holding = holders(model)
    found = _members(model) if blocks is None else _matches(model, blocks)
    members = {bare(name, holding) for name in found}
    depths: list[Named] = []
    waiting: Named = []
    current = None
    for name, p in model.named_parameters():
        block = _block(bare(name, holding), members)
        if block is None:
            waiting.append((name, p))
            continue
        if block != current:
            if current is None and waiting:
                depths.append(waiting)
                waiting = []
            depths.append(waiting)
            current, waiting = block, []
        depths[-1].append((name, p))
    if current is None:
        raise ValueError(_no_blocks(blocks))
    return [*depths, waiting] if waiting else depths


def _no_blocks(blocks: str | None) -> str:
    if blocks is None:
        return (
            "the model has no ModuleList or Sequential to count depth by; "
            "name its blocks, for example blocks='layer*'"
        )
    return (
        f"blocks={blocks!r} matches no module with parameters; "
        "write names as model.named_modules() does, for example 'encoder.layer.*'"
    )


def _members(module: Module, prefix: str = "") -> Iterator[str]:
    for name, child in module.named_children():
        if isinstance(module, _LISTS) and not isinstance(inner(child), _LISTS):
            yield prefix + name
        else:
            yield from _members(child, f"{prefix}{name}.")


def _matches(model: Module, pattern: str) -> Iterator[str]:
    """Yield the modules whose name, with or without the parts of wrappers, matches."""
    holding = holders(model)
    for name, _ in model.named_modules():
        if name and any(fnmatchcase(each, pattern) for each in (name, bare(name, holding))):
            yield name


def _block(name: str, members: set[str]) -> str | None:
    """Return the outermost block that holds a parameter."""
    parts = name.split(".")
    parents = (".".join(parts[:i]) for i in range(1, len(parts)))
    return next((parent for parent in parents if parent in members), None)
