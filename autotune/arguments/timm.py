"""Words for timm's ``train.py``, which counts epochs: a step of the search is one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.arguments.parts import (
    clipped,
    plain,
    refusal,
    refuse_unsaid,
    rising,
    text,
)

TIMM = "timm"
# Arguments that go into --opt-kwargs, by optimizer.
_KWARGS = {
    "adam": ("amsgrad",),
    "adamw": ("amsgrad",),
    "lamb": ("bias_correction", "grad_averaging", "trust_clip", "always_adapt", "max_grad_norm"),
    "lion": (),
    "nadamw": (),
    "sgd": ("dampening",),
}


def words(optimizer: str, hyper: Mapping[str, Any], warmup: float, steps: int) -> list[str]:
    """Write timm's own options; raises SpecError for Win."""
    said = [
        word for name, value in options(optimizer, hyper).items() for word in _said(name, value)
    ]
    return [*said, *_schedule(float(hyper["lr"]), rising(warmup, steps), steps)]


def options(optimizer: str, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Return what timm is told of an optimizer, by its own names; raises SpecError for Win."""
    left = plain(TIMM, optimizer, hyper, ("adan", *_KWARGS))
    found: dict[str, Any] = {"opt": _name(optimizer, left), "lr": left.pop("lr")}
    found["weight_decay"] = left.pop("weight_decay", 0.0)
    if "betas" in left:
        found["opt_betas"] = left.pop("betas")
        found |= {"opt_eps": left.pop("eps")} if "eps" in left else {}
    if "momentum" in left:
        found["momentum"] = left.pop("momentum")
    kwargs = {k: left.pop(k) for k in _KWARGS.get(optimizer, ()) if k in left}
    found |= {"opt_kwargs": kwargs} if kwargs else {}
    if clipped(left):
        found["clip_grad"] = clipped(left)
    left.pop("max_grad_norm", None)
    left.pop("eps_after_correction", None)  # timm's adam is torch's, near enough to either
    refuse_unsaid(TIMM, optimizer, left, {"eps": left.get("eps")})  # sgd's is of Win alone
    return found


def _said(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        values = [f"{key}={text(each)}" for key, each in value.items()]
    else:
        values = [text(each) for each in (value if isinstance(value, tuple | list) else (value,))]
    return [f"--{name.replace('_', '-')}", *values]


def _name(optimizer: str, left: dict[str, Any]) -> str:
    """Return timm's name of an optimizer; what the name says is taken out of ``left``."""
    if optimizer == "adan":
        return "adan" if left.pop("decay", "proximal") == "proximal" else "adanw"
    if optimizer == "adamw" and left.pop("cautious", False):
        return "cadamw"
    if optimizer == "sgd":
        return "sgd" if left.pop("nesterov", True) else "momentum"
    if optimizer in _KWARGS:
        return optimizer
    raise refusal(TIMM, optimizer, f"search {', '.join(['adan', *_KWARGS])}")


def _schedule(lr: float, warming: int, steps: int) -> list[str]:
    """Return the schedule; its first epoch has the rate of our first step, which is not 0."""
    return [
        *("--sched", "cosine", "--epochs", text(steps)),
        *("--warmup-epochs", text(warming), "--warmup-lr", text(lr / (warming + 1))),
        *("--min-lr", "0.0", "--cooldown-epochs", "0"),
    ]
