"""Win's sequences, kept as bfloat16 differences from the parameter.

A checkpoint has the sequences themselves. They become differences at the first step after loading,
because by then the parameters are loaded too, whatever the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autotune.kernels.layout import precision
from autotune.kernels.rules.lookahead import MOVES
from autotune.optimizers.sharded import piece

# z is Schedule-Free's, the last is EMA-Nesterov's; both are never short.
SEQUENCES = ("x", "y", "z", MOVES)


def shorten(state: dict[str, Any], names: Iterable[str], p: Tensor, now: Tensor) -> None:
    """Turn sequences into differences from the parameter's values, if they are not yet."""
    for name in names:
        if state[name].dtype is not torch.bfloat16:
            short = torch.empty_like(p, dtype=torch.bfloat16, requires_grad=False)
            piece(short).copy_(_difference(piece(state[name]), piece(now)))
            state[name] = short


def _difference(sequence: Tensor, p: Tensor) -> Tensor:
    """Return the nearest difference, or a neighbour of it if only that restores the sequence.

    So a resumed run reads the same values as one that was not interrupted.
    """
    home = p.to(sequence.dtype)
    best = (sequence - home).bfloat16()
    for other in [(best.view(torch.int16) + k).view(torch.bfloat16) for k in (1, -1)]:
        lost = home + best != sequence
        best = torch.where(lost & (home + other == sequence), other, best)
    return best


def write_out(saved: dict[str, Any], params: Sequence[Tensor]) -> None:
    """Replace the differences in a checkpoint by the sequences."""
    numbers = [i for group in saved["param_groups"] for i in group["params"]]
    of = dict(zip(numbers, params, strict=True))
    saved["state"] = {
        i: _long(kept, of[i]) if i in of else kept for i, kept in saved["state"].items()
    }


def _long(state: Mapping[str, Any], p: Tensor) -> dict[str, Any]:
    return {
        name: p.detach().to(precision(p)) + value if _short(name, value) else value
        for name, value in state.items()
    }


def _short(name: str, value: Any) -> bool:
    return name in SEQUENCES and value.dtype is torch.bfloat16
