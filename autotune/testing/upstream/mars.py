"""MARS by its authors: gradients of matrices corrected and clipped, of vectors as they are.

timm's has other words for two things.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LION, _ADAMW = ("mars-lion", "lion"), ("mars-adamw", "adamw")
_OF_VECTORS = {"betas_1d": "betas", "weight_decay_1d": "weight_decay"}  # and of matrices
_VECTORS = "of_vectors"  # marks a group of them


def groups(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a recording's groups; each is cut in two where vectors are stepped by plain AdamW."""
    hyper, found = data["hyper"], []
    for group in data["groups"]:
        both = {**hyper, **group}
        if both["optimize_1d"]:
            found.append(dict(group))
            continue
        flat = [i for i in group["params"] if len(data["params0"][i]["shape"]) != 2]
        rest = [i for i in group["params"] if i not in flat]
        scale = both.get("lr_1d_factor", both.get("lr_1d", hyper["lr"]) / hyper["lr"])
        vectors = {
            **group,
            "params": flat,
            "lr_scale": group.get("lr_scale", 1.0) * scale,
            _VECTORS: True,
        }
        found += [own for own in ({**group, "params": rest}, vectors) if own["params"]]
    return found


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    kind = hyper.get("mars_type", _ADAMW[0])
    if kind not in (*_LION, *_ADAMW):
        raise ValueError(f"gradient_filter 'mars' goes with our rules, got mars_type {kind!r}")
    if not hyper.get("is_approx", True):
        raise ValueError("gradient_filter 'mars' takes the step before's gradient, not a second")
    vectors = hyper.get(_VECTORS, False)
    found = {
        "lr": hyper["lr"],
        "betas": _given(hyper, "betas_1d" if vectors else "betas"),
        "weight_decay": _given(hyper, "weight_decay_1d" if vectors else "weight_decay"),
        "gradient_filter": "none" if vectors else "mars",
        "mars_gamma": hyper.get("gamma", 0.025),
    }
    if kind in _LION:
        if vectors:
            raise ValueError("lion steps all tensors of an optimizer, got vectors stepped by AdamW")
        return "lion", {**found, "betas": [found["betas"][0]] * 2}
    own = {"eps": hyper["eps"], "amsgrad": hyper.get("amsgrad", False)}
    return "adamw", {**found, **own, "cautious": hyper.get("caution", False)}


def _given(hyper: Mapping[str, Any], name: str) -> Any:
    """Return a value; what is not said of vectors is that of matrices."""
    value = hyper.get(name)
    return hyper[_OF_VECTORS[name]] if value is None else value
