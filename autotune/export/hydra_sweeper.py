"""Write space and setting for Hydra's Optuna sweeper; for a script that Hydra configures."""

from __future__ import annotations

from autotune.export import searched
from autotune.export.yaml import dumped
from autotune.results.tuned import Tuned
from autotune.space.spaces import Choice, Parameter

suffix = ".yaml"

FORM = "hydra-sweeper"
_USAGE = """\
Save it as conf/experiment/NAME.yaml; --multirun +experiment=NAME searches, +experiment=NAME alone
trains with what was found. The sweeper asks for an old Optuna and works with the installed one:
pip install --no-deps hydra-optuna-sweeper. In the script, which returns the validation loss:
    from autotune.integrations.suggestion import from_config
    chosen = from_config(config.setting)
    optimizer = chosen.build(model)
    schedule = chosen.schedule(optimizer)  # step it after each optimizer step
"""


def render(tuned: Tuned) -> str:
    """Write a config with the group of the sweeper, the space and the setting that was found."""
    space = searched.space(tuned, FORM)
    document = {
        "defaults": [{"override /hydra/sweeper": "optuna"}],
        "hydra": {
            "sweeper": {
                "direction": "minimize",
                "n_jobs": 1,
                "params": {f"setting.{name}": _drawn(p) for name, p in space.parameters.items()},
            }
        },
        "setting": searched.configuration(tuned, FORM, searched.found(tuned, FORM)),
    }
    return "# @package _global_\n" + searched.comment(tuned, FORM, _USAGE) + dumped(document)


def _drawn(parameter: Parameter) -> str:
    """Return a sweep in the grammar of Hydra's overrides."""
    if isinstance(parameter, Choice):
        return f"choice({', '.join(map(str, parameter.options))})"
    interval = f"interval({parameter.low!r}, {parameter.high!r})"
    return f"tag(log, {interval})" if parameter.log else interval
