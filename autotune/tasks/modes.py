"""Training and evaluation mode of a model's modules: which train, and what evaluating leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


class Modes:
    """The mode of every module of a model, to come back to.

    Args:
        model: The model, whose modules are now in the modes that are kept.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modes = [(module, module.training) for module in model.modules()]

    def restore(self) -> None:
        """Put every module that is in the other mode back."""
        changed = [(module, mode) for module, mode in self._modes if module.training is not mode]
        for module, mode in changed:
            # Through train(), which a model may override: adapters merge their weights in eval().
            if module.training is not mode:
                module.train(mode)
        if changed:
            for module, mode in self._modes:
                module.training = mode


def begin_training(model: nn.Module) -> Modes:
    """Call ``train()``, as every loop does before its first step, and return the modes to keep.

    Libraries hand models over in evaluation mode. What was frozen stays in it: a part none of whose
    weights is trained, and a single layer within a part that is in training mode.
    """
    frozen = _frozen(model)
    model.train()
    for module in frozen:
        module.train(False)
    return Modes(model)


def _frozen(model: nn.Module) -> Sequence[nn.Module]:
    found = [module for module in model.modules() if not module.training and _untrained(module)]
    for parent in model.modules():
        if parent.training:
            found += [child for child in parent.children() if not child.training and _layer(child)]
    return found


def _untrained(module: nn.Module) -> bool:
    weights = list(module.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)


def _layer(module: nn.Module) -> bool:
    return next(module.children(), None) is None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode inside; after, every module is in the mode it was in."""
    before = Modes(model)
    model.eval()
    try:
        yield
    finally:
        before.restore()
