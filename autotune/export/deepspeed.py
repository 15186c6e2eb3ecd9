"""Write a configuration of DeepSpeed, which is handed the optimizer; for deepspeed.initialize."""

from __future__ import annotations

import json
from typing import Any

from autotune.arguments.parts import clipped
from autotune.export.header import lines
from autotune.export.run import OURS, refuse_controlled, run_of, terms
from autotune.results.tuned import Tuned

suffix = ".json"

FORM = "deepspeed"
KEY = "autotune"  # DeepSpeed leaves a key alone that it does not know
_USAGE = (
    "use it in training: from autotune.integrations.deepspeed import built; "
    "optimizer, schedule = built(model, config); "
    "deepspeed.initialize(model=model, optimizer=optimizer, lr_scheduler=schedule, config=config)"
)


def render(tuned: Tuned) -> str:
    """Write what DeepSpeed reads, and under ``autotune`` the setting.

    Its own names are a few (Adam, AdamW, Lamb, Lion, Muon), without our groups: it is handed the
    optimizer, and told to let ZeRO step one that it has not tested.
    """
    refuse_controlled(tuned)
    run, norm = run_of(tuned, FORM), clipped(tuned.hyper)
    hyper = {k: 0.0 if k == "max_grad_norm" else v for k, v in tuned.hyper.items()}
    batch: dict[str, Any] = {} if run.batch is None else {"train_batch_size": run.batch}
    said = terms(
        run,
        undecayed=OURS,
        # The optimizer could not: under ZeRO it sees one rank's part of the gradients.
        clip=f"all gradients at norm {norm}, by DeepSpeed" if norm else "none",
        counts="optimizer steps, as the engine steps it",
    )
    document = {
        **batch,
        "gradient_clipping": norm,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        KEY: {
            "about": [_USAGE, *lines(tuned), *said],
            "optimizer": tuned.optimizer,
            "hyper": hyper,
            "warmup": tuned.warmup,
            "steps": run.steps,
        },
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
