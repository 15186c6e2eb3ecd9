"""Weight decay so that lr x weight_decay x steps stays.

Decoupled decay averages the updates over 1 / (lr x weight_decay) steps: the same share of a run.
"""

from __future__ import annotations

from autotune.studies.setting import Setting
from autotune.transfer.base import SGD, Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, float]:
    decay, lr = found.hyper["weight_decay"], now.hyper["lr"]
    ratio = found.hyper["lr"] / lr / route.steps_ratio if lr else 1.0
    return {} if not decay or ratio == 1 else {"weight_decay": decay * ratio}


def _refuse(kind: Kind, setting: Setting) -> str | None:
    if "weight_decay" not in setting.hyper:
        return "it has no weight decay"
    # An adaptive method divides such a decay by the size of the gradients: it has no timescale.
    coupled = setting.hyper.get("decay") == "coupled" and kind.family != SGD
    return "its decay is a part of the gradient" if coupled or kind.timescale is False else None


def _doubt(kind: Kind) -> str | None:
    if kind.timescale is not None:
        return None
    return "its class does not say whether a step shrinks parameters by lr x weight_decay"


rule = Rule(
    source="Wang and Aitchison 2025 (arXiv:2405.13698)",
    answers="weight decay",
    follows="steps",
    restate=_restate,
    refuse=_refuse,
    doubt=_doubt,
    reads_lr=True,
)
