"""Recorded trajectories of other people's code, of both kinds, read as trajectories of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.testing.trajectories import Numbers, Trajectory
from autotune.testing.upstream import module_of

SCHEMA = "adanwin-golden/1"
# The classes of the authors of Adan and Win, and our names.
_CLASSES = {
    "Adan": "adan",
    "Adam_Win": "adam",
    "AdamW_Win": "adamw",
    "SGD_Win": "sgd",
    "Lamb_Win": "lamb",
}
_PROX = {False: "proximal", True: "decoupled"}
# Those of the other kind are in double precision only, and single is compared with it.
_ONE_PRECISION = {"float64": (1e-11, 1e-12), "float32": (1e-4, 1e-5)}
_BOTH_PRECISIONS = {"float64": (1e-11, 1e-13), "float32": (1e-4, 1e-6)}
_OF_GROUPS = ("params", "lr_scale", "maximize")  # what no optimizer of ours takes


def recorded(path: Path) -> Trajectory:
    """Read the recording of an optimizer, with its names translated to ours.

    Raises:
        ValueError: Nobody has translated the recorded optimizer, or we do not offer what it does.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    return trajectory(data)


def trajectory(data: Mapping[str, Any]) -> Trajectory:
    """Return the trajectory of a recording's data; see ``recorded``."""
    return _of_win(data) if data.get("schema") == SCHEMA else _of_others(data)


def _of_win(data: Mapping[str, Any]) -> Trajectory:
    """Return a trajectory of Adan, or of an optimizer with Win, by their authors' code."""
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
        tolerance=_BOTH_PRECISIONS,
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


def _of_others(data: Mapping[str, Any]) -> Trajectory:
    """Return a trajectory of any other optimizer: ``upstream`` has a module for each."""
    theirs = data["optimizer"]
    module = module_of(theirs)
    if module is None:
        raise ValueError(f"no module autotune.testing.upstream.{theirs} translates it")
    cut = getattr(module, "groups", None)
    data = data if cut is None else {**data, "groups": cut(data)}
    groups, steps = data["groups"], data["steps"]
    names, hypers = zip(*(_ours(module, data["hyper"], group) for group in groups), strict=True)
    name, common = _ours(module, data["hyper"], {})
    if set(names) != {name}:
        raise ValueError(f"its groups are of several of our optimizers: {', '.join(set(names))}")
    after = [step["params"] for step in steps]
    return Trajectory(
        optimizer=name,
        hyper=common,
        groups=[
            {"params": group["params"], **_differing(own, common)}
            for group, own in zip(groups, hypers, strict=True)
        ],
        shapes=[p["shape"] for p in data["params0"]],
        initial=[p["data"] for p in data["params0"]],
        grads=[_descending(data, step["grads"]) for step in steps],
        curvature=[step["hess_diag"] for step in steps] if "hess_diag" in steps[0] else None,
        lr=[[step["lr"] * group.get("lr_scale", 1.0) for group in groups] for step in steps],
        expected={"float64": after, "float32": after},
        tolerance=_ONE_PRECISION,
        measured=getattr(module, "MEASURED", False),
    )


def _ours(module: Any, hyper: Mapping[str, Any], group: Mapping[str, Any]) -> tuple[str, Any]:
    """Return our name and arguments for a group."""
    both = {name: v for name, v in {**hyper, **group}.items() if name not in _OF_GROUPS}
    found: tuple[str, Any] = module.ours(both)
    return found


def _differing(own: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in own.items() if value != common[name]}


def _descending(
    data: Mapping[str, Any], grads: Sequence[Numbers | None]
) -> Sequence[Numbers | None]:
    """Return the gradients of a step, of minus the loss for parameters that theirs maximizes."""
    found = list(grads)
    for group in data["groups"]:
        if group.get("maximize", data["hyper"].get("maximize")):
            for i in group["params"]:
                g = grads[i]
                found[i] = None if g is None else [-value for value in g]
    return found
