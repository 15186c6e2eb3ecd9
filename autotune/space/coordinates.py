"""Coordinates of a space, and how they translate into an optimizer's arguments.

Coordinates are chosen to be independent: weight decay is searched as the timescale
1/(lr * weight_decay) in steps, a beta as 1 - beta, and Win's second reckless step as its ratio to
the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.optimizers import options

DEFAULT_WARMUP = 0.1
_DECAYS = ("momentum", *options.DECAYS)  # searched as one minus them, as betas are

Value = float | str
Params = Mapping[str, Value]


def told(hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that an optimizer is told: where one is None, it decides itself."""
    return {name: value for name, value in hyper.items() if value is not None}


def decode(params: Params, defaults: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Return an optimizer's keyword arguments and the warm-up fraction at ``params``."""
    rest = dict(params)
    hyper = dict(defaults)
    warmup = float(rest.pop("warmup", DEFAULT_WARMUP))
    hyper["lr"] = float(rest.pop("lr", hyper["lr"]))
    _decode_decay(rest, hyper)
    if _shares(hyper.get("betas")):
        old = enumerate(hyper["betas"], 1)
        hyper["betas"] = tuple(_kept(rest, f"one_minus_beta{i}", beta) for i, beta in old)
    for name in _DECAYS:
        if _is_share(hyper.get(name)) or f"one_minus_{name}" in rest:
            hyper[name] = _kept(rest, f"one_minus_{name}", hyper.get(name, 0.0))
    if not rest.keys().isdisjoint({"gamma1", "gamma_ratio"}):
        first, second = hyper["reckless_steps"]
        gamma = float(rest.pop("gamma1", first))
        hyper["reckless_steps"] = (gamma, gamma * float(rest.pop("gamma_ratio", second / first)))
    rest |= {name: _whole(value, defaults.get(name)) for name, value in rest.items()}
    return hyper | rest, warmup


def _shares(value: Any) -> bool:
    """Whether a value is numbers, as betas are; another package's may be something else."""
    return isinstance(value, tuple | list) and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    """Tell whether a value may be what an average keeps; another package's may not."""
    return _is_number(value) and 0 <= value < 1


def _whole(value: Any, default: Any) -> Any:
    """Round a number where the default is an int: it counts something."""
    counts = isinstance(default, int) and not isinstance(default, bool)
    return round(value) if counts and isinstance(value, float) else value


def _kept(rest: dict[str, Value], name: str, beta: float) -> float:
    """Return one minus the coordinate; an unchanged beta keeps every bit."""
    return 1 - float(rest.pop(name)) if name in rest else beta


def _decode_decay(rest: dict[str, Value], hyper: dict[str, Any]) -> None:
    decayed = rest.pop("decayed", "yes")
    timescale = rest.pop("timescale", None)
    if "weight_decay" in rest:
        hyper["weight_decay"] = float(rest.pop("weight_decay"))
    elif decayed == "no":
        hyper["weight_decay"] = 0.0
    elif timescale is not None:
        hyper["weight_decay"] = 1 / (hyper["lr"] * float(timescale))


def encode(hyper: Mapping[str, Any], warmup: float) -> dict[str, Value]:
    """Return the coordinates of an optimizer's arguments: the inverse of ``decode``."""
    lr, said = float(hyper["lr"]), {"lr"}
    params: dict[str, Value] = {"warmup": warmup, "lr": lr}
    if "weight_decay" in hyper:
        params |= _encoded_decay(lr, float(hyper["weight_decay"]))
        said.add("weight_decay")
    if _shares(hyper.get("betas")):
        params |= {f"one_minus_beta{i}": 1 - beta for i, beta in enumerate(hyper["betas"], 1)}
        said.add("betas")
    for name in _DECAYS:
        if _is_share(hyper.get(name)):
            params[f"one_minus_{name}"] = 1 - hyper[name]
            said.add(name)
    if "reckless_steps" in hyper:
        first, second = hyper["reckless_steps"]
        params |= {"gamma1": first, "gamma_ratio": second / first}
        said.add("reckless_steps")
    return params | {name: value for name, value in hyper.items() if name not in said}


def _encoded_decay(lr: float, decay: float) -> dict[str, Value]:
    found: dict[str, Value] = {"weight_decay": decay, "decayed": "yes" if decay else "no"}
    return found | {"timescale": 1 / (lr * decay)} if lr and decay else found
