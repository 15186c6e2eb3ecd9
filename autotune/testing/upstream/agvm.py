"""AGVM's hook on two processes, each with half of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autotune.optimizers.registry import create
from autotune.testing.upstream.numbers import apart
from autotune.training.module_rates import disagreement, due, preconditioned, updated

_OWN = "agvm_"  # arguments of the hook begin with it
_RANKS = 2


def differences(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each step whose factors or parameters ours are not."""
    params = [torch.nn.Parameter(_tensor(p["data"], p["shape"])) for p in data["params0"]]
    modules = [[params[i] for i in module] for module in data["modules"]]
    optimizer = _optimizer(data, [{"params": module} for module in modules])
    start, interval, keep = [
        data["hyper"][f"{_OWN}{name}"]
        for name in ("lr_update_start_iter", "lr_update_interval", "momentum")
    ]
    factors = [1.0] * len(modules)
    for step in data["steps"]:
        halves = [
            {p: _tensor(g, p.shape) for p, g in zip(params, step[f"grads_rank{rank}"], strict=True)}
            for rank in range(_RANKS)
        ]
        if due(step["iter"], start, interval):
            found = [_measured(optimizer, module, halves) for module in modules]
            factors = updated(factors, found, keep)
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = step["lr"] * factor
        for p in params:
            p.grad = torch.stack([half[p] for half in halves]).mean(dim=0)
        optimizer.step()
        yield from apart(f"iter {step['iter']}: factors", factors, step["scale_factors"])
        for i, (p, values) in enumerate(zip(params, step["params"], strict=True)):
            what = f"iter {step['iter']}: parameter {i}"
            yield from apart(what, p.detach().flatten().tolist(), values)


def _optimizer(data: Mapping[str, Any], groups: Sequence[dict[str, Any]]) -> Any:
    hyper = {name: v for name, v in data["hyper"].items() if not name.startswith(_OWN)}
    given = {"nesterov": False} if data["optimizer"] == "sgd" else {}
    return create(data["optimizer"], groups, backend="torch", **{**given, **hyper})


def _measured(optimizer: Any, module: Sequence[Tensor], halves: Sequence[Any]) -> float:
    """Return a module's disagreement; under Adam theirs divides each half's gradient once more."""
    if "betas" not in optimizer.defaults:
        return disagreement(*([half[p] for p in module] for half in halves))
    beta2, eps = optimizer.defaults["betas"][1], optimizer.defaults["eps"]
    scaled = [
        [
            preconditioned(half[p] / _RANKS, optimizer.state[p]["exp_avg_sq"], beta2, eps)
            for p in module
        ]
        for half in halves
    ]
    return disagreement(*scaled)


def _tensor(values: Sequence[float], shape: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(tuple(shape))
