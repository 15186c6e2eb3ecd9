"""Write optimizer and schedule as objects; for a script that Hydra configures."""

from __future__ import annotations

from autotune.export import instances
from autotune.export.comment import comment
from autotune.export.run import OURS, complete, run_of, terms
from autotune.export.yaml import dumped
from autotune.results.tuned import Tuned

suffix = ".yaml"

FORM = "hydra"
_USAGE = """\
Save it as conf/tuned/NAME.yaml, add tuned: NAME to the defaults of the config. In the script:
    optimizer = hydra.utils.instantiate(config.tuned.optimizer)(model=model)
    schedule = hydra.utils.instantiate(config.tuned.schedule)(optimizer)
    schedule.step() after each optimizer.step()
"""


def render(tuned: Tuned) -> str:
    """Write two groups: ``optimizer`` takes the model, ``schedule`` the optimizer."""
    run = run_of(tuned, FORM)
    made = {"name": tuned.optimizer, "hyper": complete(tuned, controlled=True)}
    document = {
        "optimizer": instances.hydra("autotune.optimizers.build", made),
        "schedule": instances.hydra(
            instances.SCHEDULE, {"steps": run.steps, "warmup": tuned.warmup}
        ),
    }
    return comment(tuned, _USAGE, terms(run, undecayed=OURS)) + dumped(document)
