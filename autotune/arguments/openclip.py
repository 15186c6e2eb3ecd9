"""Words for open_clip's training, which takes AdamW, and timm's optimizers as ``timm/NAME``."""

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

OPENCLIP = "open_clip"


def words(optimizer: str, hyper: Mapping[str, Any], warmup: float, steps: int) -> list[str]:
    """Write open_clip's options; raises SpecError for Win and for optimizers other than two."""
    left = plain(OPENCLIP, optimizer, hyper, ("adan", "adamw"))
    betas = tuple(left.pop("betas", ()))
    if optimizer == "adamw":
        # It takes both of its betas or none.
        own = [word for n, b in enumerate(betas, 1) for word in (f"--beta{n}", text(b))]
        name = "adamw"
    elif optimizer == "adan":
        direct = left.pop("decay", "proximal") != "proximal"
        kwargs = [f"betas=({','.join(map(text, betas))})"] if betas else []
        own = ["--opt-kwargs", *kwargs, f"no_prox={direct}"]
        name = "timm/adan"
    else:
        raise refusal(OPENCLIP, optimizer, "search adan or adamw")
    found = ["--opt", name, "--lr", text(left.pop("lr")), *own]
    found += ["--wd", text(left.pop("weight_decay", 0.0)), "--eps", text(left.pop("eps", 1e-8))]
    if clipped(left):
        found += ["--grad-clip-norm", text(clipped(left))]
    left.pop("max_grad_norm", None)
    refuse_unsaid(OPENCLIP, optimizer, left, {"amsgrad": False})
    return [*found, "--lr-scheduler", "cosine", "--warmup", text(rising(warmup, steps))]
