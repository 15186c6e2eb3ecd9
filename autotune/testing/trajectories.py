"""Optimizer runs with given gradients: read from a recording or drawn, and replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autotune.optimizers.base import RuleOptimizer
from autotune.optimizers.registry import create

Numbers = Sequence[float]

# The authors' classes and arguments, and ours.
_CLASSES = {
    "Adan": "adan",
    "Adam_Win": "adam",
    "AdamW_Win": "adamw",
    "SGD_Win": "sgd",
    "Lamb_Win": "lamb",
}
_PROX = {False: "proximal", True: "decoupled"}


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """What an optimizer was given, and what its authors' code made of it."""

    optimizer: str
    hyper: Mapping[str, Any]
    groups: Sequence[Mapping[str, Any]]  # "params" are indices
    shapes: Sequence[Sequence[int]]
    initial: Sequence[Numbers]
    grads: Sequence[Sequence[Numbers | None]]  # by step and parameter
    lr: Sequence[Numbers] | None = None  # by step and group
    restart_after: Sequence[int] = ()
    expected: Mapping[str, Sequence[Sequence[Numbers]]] = field(default_factory=dict)
    state: Sequence[Mapping[str, Any] | None] = ()
    group_steps: Sequence[int | None] = ()


def recorded(path: Path) -> Trajectory:
    """Read a recording of the authors' code, with its names translated to ours."""
    data = json.loads(path.read_text())
    mode = {"acceleration": data["mode"]} if data["mode"] else {}
    return Trajectory(
        optimizer=_CLASSES[data["optimizer"]],
        hyper={**mode, **_translated(data["hyper"])},
        groups=[_translated(group) for group in data["groups"]],
        shapes=[p["shape"] for p in data["params"]],
        initial=[p["init"] for p in data["params"]],
        grads=data["grads"],
        lr=data["lr"],
        restart_after=data["restart_after"] or (),
        expected=data["expected"],
        state=data["final_state_float64"],
        group_steps=data["final_group_step"],
    )


def _translated(hyper: Mapping[str, Any]) -> dict[str, Any]:
    ours = dict(hyper)
    if "no_prox" in ours:
        ours["decay"] = _PROX[ours.pop("no_prox")]
    if "acceleration_mode" in ours:
        ours["acceleration"] = ours.pop("acceleration_mode")
    return ours


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
    return Trajectory(
        optimizer=optimizer,
        hyper=hyper,
        groups=[{"params": list(range(len(shapes)))}],
        shapes=shapes,
        initial=[numbers(shape) for shape in shapes],
        grads=grads,
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
        for p, g in zip(params, grads, strict=True):
            p.grad = None if g is None else tensor(g, p.shape)
        optimizer.step()
        yield optimizer, [p.detach() for p in params]
        if k + 1 in run.restart_after:
            optimizer.restart_opt()  # type: ignore[attr-defined]  # only Adan's have restarts


def final(
    run: Trajectory, *, dtype: torch.dtype, backend: str, device: str = "cpu"
) -> list[Tensor]:
    """Return the parameters after the last step."""
    return list(play(run, dtype=dtype, backend=backend, device=device))[-1][1]
