"""Write the space that was searched as the configuration of a sweep; for Weights & Biases."""

from __future__ import annotations

from typing import Any

from autotune.export import searched
from autotune.export.yaml import dumped
from autotune.results.tuned import Tuned
from autotune.space.spaces import Choice, Parameter

suffix = ".yaml"

FORM = "wandb"
_USAGE = """\
Begin it with: wandb sweep FILE, after naming your script below. In the script:
    from autotune.integrations.suggestion import from_config
    chosen = from_config(wandb.config)
    optimizer = chosen.build(model)
    schedule = chosen.schedule(optimizer)  # step it after each optimizer step
    wandb.log({"loss": validation_loss})
"""


def render(tuned: Tuned) -> str:
    """Write a sweep's configuration, with the setting that was found as a comment."""
    space = searched.space(tuned, FORM)
    constants = searched.configuration(tuned, FORM, {})
    parameters: dict[str, Any] = {name: {"value": value} for name, value in constants.items()}
    parameters |= {name: _drawn(each) for name, each in space.parameters.items()}
    sweep = {
        "program": "train.py",
        "method": "bayes",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": parameters,
    }
    return searched.comment(tuned, FORM, _USAGE) + dumped(sweep)


def _drawn(parameter: Parameter) -> dict[str, Any]:
    if isinstance(parameter, Choice):
        return {"values": list(parameter.options)}
    scale = "log_uniform_values" if parameter.log else "uniform"
    return {"distribution": scale, "min": parameter.low, "max": parameter.high}
