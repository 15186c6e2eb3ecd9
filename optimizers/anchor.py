"""Sequences of Win and Schedule-Free, begun again where something else has put the weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.rules.lookahead import MOVES
from autotune.optimizers import averaging
from autotune.optimizers.sharded import piece

if TYPE_CHECKING:
    from autotune.optimizers.base import RuleOptimizer


@torch.no_grad()
def reanchor(  # noqa: D417  # base.py makes it a method
    self: RuleOptimizer, params: Iterable[Tensor] | None = None
) -> None:
    """Let Win's sequences begin again at the weights, because something else moved these.

    A step cannot tell that weights were clipped, masked, averaged, initialised again or
    replaced by better ones since the step before: x and y of 'win2', x of 'win', are still
    where they were, and pull the weights back there, as in the authors' code. (With ``compact``
    they have moved by as much as the weights.) After this call the next step is the same in
    both forms, and what it would be if acceleration began now. Averages and step counts stay.
    So does Schedule-Free begin again there; where all parameters do, the weights of its average
    begin too, and the learning rate may be lower than before.

    A checkpoint needs no such call, whether the model or the optimizer is loaded first. Nor do
    weights that are put back before the next step. Called after every step, it leaves Win
    nothing to accelerate; with ``compact``, weights that are clipped so often can do without.

    Args:
        params: The parameters that were moved; None is all of them. Without acceleration, and
            before their first step, they are left as they are.

    Raises:
        ValueError: One of ``params`` is not this optimizer's.

    Example:
        >>> import torch
        >>> from autotune.optimizers import AdamW
        >>> layer = torch.nn.Linear(2, 1)
        >>> optimizer = AdamW(layer.parameters(), acceleration="win2")
        >>> layer(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> layer.reset_parameters()
        >>> optimizer.reanchor()
        >>> bool((optimizer.state[layer.weight]["x"] == layer.weight).all())
        True
    """
    self._settle()
    chosen = None if params is None else _own(self, params)
    for group in self.param_groups:
        names = self.rule(group).application.buffers
        for p in group["params"]:
            if names and p in self.state and (chosen is None or id(p) in chosen):
                _put(self.state[p], names, p)
    if chosen is None:
        averaging.begin_again(self)


def _put(state: dict[str, Any], names: Iterable[str], p: Tensor) -> None:
    """Write in place: CUDA graphs and stacks of replicas hold these tensors."""
    if "z" in state or MOVES in state:
        state.pop("y", None)  # where training was before eval()
    for name in names:
        if name not in state:
            continue
        sequence = piece(state[name])
        if sequence.dtype is torch.bfloat16 or name == MOVES:  # a difference from the parameter
            sequence.zero_()
        else:
            sequence.copy_(piece(p))


def _own(optimizer: RuleOptimizer, params: Iterable[Tensor]) -> set[int]:
    """Return the identities of parameters; refuse any that the optimizer does not step."""
    given = [params] if isinstance(params, Tensor) else list(params)
    known = set(map(id, optimizer.parameters()))
    for p in given:
        if id(p) not in known:
            raise ValueError(
                f"reanchor takes parameters of this {type(optimizer).__name__}, got "
                f"{_told(p)} that is none of them; leave params out to take all"
            )
    return set(map(id, given))


def _told(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
