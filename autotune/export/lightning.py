"""Write optimizer, schedule and trainer; for LightningCLI."""

from __future__ import annotations

from autotune.export import instances
from autotune.export.comment import comment
from autotune.export.run import OURS, complete, run_of, terms
from autotune.export.yaml import dumped
from autotune.optimizers.registry import importable
from autotune.results.tuned import Tuned

suffix = ".yaml"

FORM = "lightning"
_USAGE = """\
Use it in training: python main.py fit --config FILE, where main.py has
    from autotune.integrations.lightning_cli import CLI
    CLI(Model, Data)
Lightning's own LightningCLI reads it too, but decays all parameters and steps the schedule once an
epoch. Without a CLI: autotune.integrations.lightning.configure in configure_optimizers.
"""


def render(tuned: Tuned) -> str:
    """Write ``optimizer``, ``lr_scheduler`` and ``trainer``."""
    run = run_of(tuned, FORM)
    document = {
        "optimizer": instances.jsonargparse(importable(tuned.optimizer), complete(tuned)),
        "lr_scheduler": instances.jsonargparse(
            instances.SCHEDULE, {"steps": run.steps, "warmup": tuned.warmup}
        ),
        "trainer": {"max_steps": run.steps, "gradient_clip_val": None},
    }
    counts = "optimizer steps (interval: step)"
    return comment(tuned, _USAGE, terms(run, undecayed=OURS, counts=counts)) + dumped(document)
