"""Optimizer runs with given gradients: drawn, or read from a recording; and replayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from autotune.optimizers.base import RuleOptimizer
from autotune.optimizers.registry import create, second_order

Numbers = Sequence[float]
Tolerance = Mapping[str, tuple[float, float]]  # relative and absolute, by dtype


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """What an optimizer was given, and what its authors' code made of it."""

    optimizer: str
    hyper: Mapping[str, Any]
    groups: Sequence[Mapping[str, Any]]  # "params" are indices
    shapes: Sequence[Sequence[int]]
    initial: Sequence[Numbers]
    grads: Sequence[Sequence[Numbers | None]]  # by step and parameter
    curvature: Sequence[Sequence[Numbers | None]] | None = None  # the Hessian's diagonal, likewise
    lr: Sequence[Numbers] | None = None  # by step and group
    restart_after: Sequence[int] = ()
    expected: Mapping[str, Sequence[Sequence[Numbers]]] = field(default_factory=dict)
    tolerance: Tolerance = field(default_factory=dict)
    state: Sequence[Mapping[str, Any] | None] = ()
    group_steps: Sequence[int | None] = ()
    measured: bool = False  # whether parameters were recorded as ``eval()`` puts them


def drawn(
    optimizer: str, hyper: Mapping[str, Any], shapes: Sequence[Sequence[int]], steps: int, seed: int
) -> Trajectory:
    """Draw initial values and gradients; the second gradient of the last tensor is missing."""
    draw = torch.Generator().manual_seed(seed)

    def numbers(shape: Sequence[int]) -> Numbers:
        values: Numbers = torch.randn(tuple(shape), generator=draw).flatten().tolist()
        return values

    grads: list[list[Numbers | None]] = [[numbers(s) for s in shapes] for _ in range(steps)]
    if steps > 1:
        grads[1][-1] = None

    def bends() -> Sequence[Numbers]:
        return [numbers(shape) for shape in shapes]

    return Trajectory(
        optimizer=optimizer,
        hyper=hyper,
        groups=[{"params": list(range(len(shapes)))}],
        shapes=shapes,
        initial=[numbers(shape) for shape in shapes],
        grads=grads,
        curvature=[bends() for _ in grads] if second_order(optimizer) else None,
    )


def play(
    run: Trajectory, *, dtype: torch.dtype, backend: str, device: str = "cpu"
) -> Iterator[tuple[RuleOptimizer, list[Tensor]]]:
    """Yield the optimizer and its parameters after each step."""

    def tensor(values: Numbers, shape: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device).reshape(tuple(shape))

    params = [
        torch.nn.Parameter(tensor(values, shape))
        for values, shape in zip(run.initial, run.shapes, strict=True)
    ]
    groups = [{**group, "params": [params[i] for i in group["params"]]} for group in run.groups]
    optimizer = create(run.optimizer, groups, backend=backend, **run.hyper)
    for k, grads in enumerate(run.grads):
        for i, group in enumerate(optimizer.param_groups if run.lr else ()):
            group["lr"] = run.lr[k][i] if run.lr else group["lr"]
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            p.grad = None if g is None else tensor(g, p.shape)
            bend = None if run.curvature is None else run.curvature[k][i]
            if p.grad is not None and bend is not None:
                p.grad = curved(p, p.grad, tensor(bend, p.shape))
        optimizer.step()
        if run.measured:
            optimizer.eval()
        yield optimizer, [p.detach() for p in params]
        if run.measured:
            optimizer.train()
        if k + 1 in run.restart_after:
            optimizer.restart_opt()  # type: ignore[attr-defined]  # only Adan's have restarts


def curved(p: Tensor, g: Tensor, curvature: Tensor | float) -> Tensor:
    """Return a gradient whose derivative by the parameter is ``curvature``, element by element."""
    with torch.enable_grad():
        return g + curvature * (p - p.detach())


def final(
    run: Trajectory, *, dtype: torch.dtype, backend: str, device: str = "cpu"
) -> list[Tensor]:
    """Return the parameters after the last step."""
    return list(play(run, dtype=dtype, backend=backend, device=device))[-1][1]
