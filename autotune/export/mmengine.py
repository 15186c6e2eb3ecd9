"""Write a configuration of MMEngine, for MMPretrain, MMDetection and the like; Win as well."""

from __future__ import annotations

from pprint import pformat
from typing import Any

from autotune.export.comment import comment
from autotune.export.run import Run, complete, in_one_group, run_of, terms, warned
from autotune.optimizers.registry import importable
from autotune.results.tuned import Tuned

suffix = ".py"

FORM = "mmengine"
_USAGE = """\
Use it in training: _base_ = ["model.py", "data.py", "FILE"]. What a base says of optim_wrapper,
param_scheduler and train_cfg has to go, or is merged into this.
"""
_NAMED = "MMEngine does not ask a model's no_weight_decay(): name its parameters in custom_keys"


def render(tuned: Tuned) -> str:
    """Write ``optim_wrapper``, ``param_scheduler`` and ``train_cfg``, which count steps."""
    run = run_of(tuned, FORM)
    in_one_group(tuned, FORM)
    hyper = complete(tuned)
    keys: dict[str, Any] = {
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": importable(tuned.optimizer), **hyper},
            # Parameters with ndim <= 1, whatever they are named.
            "paramwise_cfg": {
                "flat_decay_mult": 0.0,
                "norm_decay_mult": 0.0,
                "bias_decay_mult": 0.0,
                "bypass_duplicate": True,
            },
            "clip_grad": None,
        },
        "param_scheduler": _schedule(run),
        "train_cfg": {"by_epoch": False, "max_iters": run.steps},
    }
    said = terms(
        run,
        undecayed="parameters with ndim <= 1 and those of norms, by flat_decay_mult",
        counts="iterations (by_epoch=False)",
    )
    body = "".join(f"{name} = {_literal(value)}\n" for name, value in keys.items())
    return comment(warned(tuned, _NAMED), _USAGE, said) + body


def _schedule(run: Run) -> list[dict[str, Any]]:
    """Return warm-up and cosine; MMEngine's linear one is done a step before its ``end``."""
    falling: dict[str, Any] = {"type": "CosineAnnealingLR", "by_epoch": False, "eta_min": 0.0}
    falling |= {"begin": run.rising, "end": run.steps, "T_max": run.steps - run.rising}
    if not run.rising:
        return [falling]
    return [
        {
            "type": "LinearLR",
            "by_epoch": False,
            "start_factor": 1 / (run.rising + 1),
            "end_factor": 1.0,
            "begin": 0,
            "end": run.rising + 1,
        },
        falling,
    ]


def _literal(value: Any) -> str:
    return pformat(value, width=90, sort_dicts=False)
