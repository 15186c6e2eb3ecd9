"""Schedule-Free: the weights of its average, and the change between training and evaluation.

A group keeps what the weights need, under the words of the authors' code: ``lr_max`` and
``weight_sum``; ``averaged`` counts its steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.rules.lookahead import MOVES
from autotune.optimizers.options import LOOKAHEAD
from autotune.optimizers.scalars import Scalar
from autotune.optimizers.sharded import piece

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

NAME = "schedule-free"
APART = (NAME, LOOKAHEAD)  # accelerations that measure other weights than those they step
KEPT = ("lr_max", "weight_sum", "averaged")  # by a group
HYPER = ("r", "weight_lr_power")  # hyper-parameters
MODE = "train_mode"  # of a group: False between eval() and train()
_FALLEN = 1.0 - 1e-9  # of the largest rate: what a schedule rounds is no fall


def weights(
    optimizers: Iterable[RuleOptimizer], groups: Sequence[Group], ready: Sequence[Group]
) -> list[float | None]:
    """Count a step in each group that is averaged, and return the weight of its new base point.

    Args:
        optimizers: The optimizer of each group.
        groups: The groups, which keep the counts.
        ready: The same groups, with numbers where they have tensors.

    Raises:
        ValueError: A learning rate has fallen. Nothing is counted then.
    """
    for group, plain in zip(groups, ready, strict=True):
        if plain["acceleration"] == NAME:
            _refuse_fallen(group, float(plain["lr"]))
    return [
        weight(optimizer, group, plain) if plain["acceleration"] == NAME else None
        for optimizer, group, plain in zip(optimizers, groups, ready, strict=False)
    ]


def weight(optimizer: RuleOptimizer, group: Group, plain: Group) -> float:
    """Count a step in a group, and return the weight of its new base point in the average."""
    count = int(group.get("averaged", 0)) + 1
    rate = float(plain["lr"]) * optimizer.pace(plain, count)
    largest = max(rate, float(group.get("lr_max", 0.0)))
    own = count ** plain["r"] * largest ** plain["weight_lr_power"]
    total = float(group.get("weight_sum", 0.0)) + own
    group.update(lr_max=largest, weight_sum=total, averaged=count)
    return own / total if total else 0.0


def interpolation(self: RuleOptimizer, group: Group) -> float:
    """Return how near the points of training are to the average: the first beta."""
    return float(group["betas"][0])


def pace(self: RuleOptimizer, group: Group, step: Scalar) -> Scalar:
    """Return what a group's learning rate is multiplied by at a step, counted from 1."""
    return 1.0


def refuse_in_evaluation(optimizer: RuleOptimizer) -> None:
    """Refuse a step from the average."""
    if optimizer._evaluating:
        raise RuntimeError(
            "a step must begin where gradients are taken, got one after eval(), which put the "
            "average into the parameters; call train() of the optimizer before training goes on"
        )


def _refuse_fallen(group: Group, rate: float) -> None:
    """Refuse a learning rate that falls: the average takes the place of a schedule."""
    largest = float(group.get("lr_max", 0.0))
    if rate < largest * _FALLEN:
        raise ValueError(
            f"lr must not fall under acceleration '{NAME}', which averages instead, got {rate:g} "
            f"after {largest:g}; leave the schedule out but for its warm-up, or call reanchor() "
            "where another run begins"
        )


@torch.no_grad()
def evaluate(self: RuleOptimizer) -> None:
    """Put the average that Schedule-Free makes into the parameters, to measure or save the model.

    EMA-Nesterov has the points from which its parameters look ahead there.

    ``train()`` puts back what they were, bit for bit, unless something else has moved them since;
    until then a copy of each is kept, and a step is refused. Statistics of batch normalisation are
    of the other weights: let some batches pass through the model in training mode first. A second
    call, and a call without either, changes nothing.

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> p = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = create("sgd-sf", [p], lr=0.3)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     p.square().sum().backward()
        ...     optimizer.step()
        >>> here = p.item()
        >>> optimizer.eval()
        >>> p.item() == here
        False
        >>> optimizer.train()
        >>> p.item() == here
        True
    """
    self._settle()
    for group in self.param_groups:
        if group["acceleration"] in APART and group.get(MODE, True):
            beta = _beta(self, group)
            for p, state in _averaged(self, group):
                state["y"] = p.detach().clone()
                piece(p).copy_(_measured(piece(p), state, beta))
            group[MODE] = False
    self._evaluating = evaluating(self)


@torch.no_grad()
def train(self: RuleOptimizer) -> None:
    """Put back what ``eval()`` took out of the parameters, so that training can go on.

    Where something else has moved a parameter since, it is taken for the average, and training goes
    on at the point that belongs to it. A second call changes nothing.
    """
    for group in self.param_groups:
        if not group.get(MODE, True):
            beta = _beta(self, group)
            for p, state in _averaged(self, group):
                _put_back(piece(p), state, state.pop("y", None), beta)
            del group[MODE]
    self._evaluating = False


def evaluating(optimizer: RuleOptimizer) -> bool:
    """Whether some group has its average in the parameters."""
    return not all(group.get(MODE, True) for group in optimizer.param_groups)


def begin_again(optimizer: RuleOptimizer) -> None:
    """Let averages begin anew, and learning rates with them."""
    for group in optimizer.param_groups:
        for name in KEPT:
            if isinstance(group.get(name), Tensor):
                group[name].zero_()
            else:
                group.pop(name, None)


def averages(self: RuleOptimizer) -> bool:
    """Whether other weights are measured than those it steps: ``eval()`` then puts them in."""
    return any(group["acceleration"] in APART for group in self.param_groups)


def _beta(optimizer: RuleOptimizer, group: Group) -> float:
    """Return what says how far a group's points of training are from what is measured."""
    if group["acceleration"] == LOOKAHEAD:
        return float(group["lookahead_stepsize"])
    return optimizer.interpolation(group)


def _averaged(optimizer: RuleOptimizer, group: Group) -> list[tuple[Tensor, dict[str, Any]]]:
    """Return a group's parameters that are measured elsewhere, with their state."""
    known = [(p, optimizer.state[p]) for p in group["params"] if p in optimizer.state]
    return [(p, state) for p, state in known if "z" in state or MOVES in state]


def _measured(y: Tensor, state: dict[str, Any], beta: float) -> Tensor:
    """Return what belongs to a point of training: an average, or the point behind it."""
    if MOVES in state:
        moves = piece(state[MOVES])
        return y.to(moves.dtype) - beta * moves
    z = piece(state["z"])
    return z + (y.to(z.dtype) - z) / beta


def _put_back(p: Tensor, state: dict[str, Any], y: Tensor | None, beta: float) -> None:
    if MOVES in state:
        moves = piece(state[MOVES])
        point = (p.to(moves.dtype) + beta * moves).to(p.dtype)
    else:
        z = piece(state["z"])
        point = (beta * p.to(z.dtype) + (1.0 - beta) * z).to(p.dtype)
    if y is not None:
        y = piece(y).to(p.dtype)
        point = torch.where(p == _measured(y, state, beta).to(p.dtype), y, point)
    p.copy_(point)
