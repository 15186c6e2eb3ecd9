"""AGVM's hook on two processes, each with half of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autotune.optimizers.agvm import AGVM
from autotune.optimizers.registry import create
from autotune.testing.upstream.numbers import apart

_OWN = "agvm_"  # arguments of the hook begin with it
_RANKS = 2


def differences(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each step whose factors or parameters ours are not."""
    params = [torch.nn.Parameter(_tensor(p["data"], p["shape"])) for p in data["params0"]]
    optimizer = _optimizer(data, params)
    controller = _controller(data, optimizer, params)
    for step in data["steps"]:
        for group in optimizer.param_groups:
            group["lr"] = step["lr"]
        controller.steps = step["iter"]
        first, second = (_shares(step[f"grads_rank{rank}"], params) for rank in range(_RANKS))
        for p, share in zip(params, first, strict=True):
            p.grad = share
        controller.half()
        for p, share, other in zip(params, first, second, strict=True):
            p.grad = share + other
        controller.step()
        optimizer.step()
        factors = [*controller.multipliers.values()]
        yield from apart(f"iter {step['iter']}: factors", factors, step["scale_factors"])
        for i, (p, values) in enumerate(zip(params, step["params"], strict=True)):
            what = f"iter {step['iter']}: parameter {i}"
            yield from apart(what, p.detach().flatten().tolist(), values)


def _optimizer(data: Mapping[str, Any], params: Sequence[Tensor]) -> Any:
    hyper = {name: v for name, v in data["hyper"].items() if not name.startswith(_OWN)}
    given = {"nesterov": False} if data["optimizer"] == "sgd" else {}
    return create(data["optimizer"], params, backend="torch", **{**given, **hyper})


def _controller(data: Mapping[str, Any], optimizer: Any, params: Sequence[Any]) -> AGVM:
    """Return what users run, over modules that hold the recording's parameters."""
    modules = {
        f"module{n}": torch.nn.ParameterList([params[i] for i in module])
        for n, module in enumerate(data["modules"])
    }
    start, interval, keep = [
        data["hyper"][f"{_OWN}{name}"]
        for name in ("lr_update_start_iter", "lr_update_interval", "momentum")
    ]
    return AGVM(
        optimizer,
        torch.nn.ModuleDict(modules),
        modules=[*modules],
        interval=interval,
        keep=keep,
        start=start,
        as_published=True,
    )


def _shares(grads: Sequence[Sequence[float]], params: Sequence[Tensor]) -> list[Tensor]:
    """Return what a process adds to the mean of gradients."""
    return [_tensor(g, p.shape) / _RANKS for p, g in zip(params, grads, strict=True)]


def _tensor(values: Sequence[float], shape: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(tuple(shape))
