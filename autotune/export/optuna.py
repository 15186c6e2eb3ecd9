"""Write the space that was searched as an objective's first lines; for a study of Optuna."""

from __future__ import annotations

from string import Template
from typing import Any

from autotune.export import searched
from autotune.export.header import lines
from autotune.export.python import docstring, entries, literal
from autotune.results.tuned import Tuned
from autotune.space.spaces import Choice, Parameter

suffix = ".py"

FORM = "optuna"
_FILE = Template('''\
"""$provenance

Use it in training:

    def objective(trial):
        chosen = suggest(trial)
        optimizer = chosen.build(model)
        schedule = chosen.schedule(optimizer)  # step it after each optimizer step
        ...
        return validation_loss

    study().optimize(objective, n_trials=30)
"""

from __future__ import annotations

from typing import Any

import optuna
from autotune.integrations.optuna import sampler
from autotune.integrations.suggestion import Suggestion, from_config

CONSTANTS: dict[str, Any] = {
$constants
}
# What was found; a study tries it first.
FOUND: dict[str, Any] = {
$found
}


def suggest(trial: optuna.trial.BaseTrial) -> Suggestion:
    """Let a trial choose a setting in the space that was searched."""
    chosen: dict[str, Any] = {
$suggested
    }
    return from_config({**CONSTANTS, **chosen})


def study(**given: Any) -> optuna.Study:
    """Make a study whose first trial is what was found; ``given`` is for ``create_study``."""
    made = optuna.create_study(**{"sampler": sampler(), **given})
    made.enqueue_trial(FOUND, skip_if_exists=True)
    return made
''')


def render(tuned: Tuned) -> str:
    """Write a module with ``suggest(trial)`` and ``study()``; refuse a record without a space."""
    space = searched.space(tuned, FORM)
    constants = searched.configuration(tuned, FORM, {})
    found = searched.found(tuned, FORM)
    drawn = [_suggested(name, each) for name, each in space.parameters.items()]
    return _FILE.substitute(
        provenance=docstring(lines(tuned)),
        constants=entries(constants),
        found=entries({name: found[name] for name in space.parameters}),
        suggested="\n".join(f"        {line}" for line in drawn),
    )


def _suggested(name: str, parameter: Parameter) -> str:
    key = literal(name)
    if isinstance(parameter, Choice):
        options: list[Any] = list(parameter.options)
        listed = ", ".join(map(literal, options))
        return f"{key}: trial.suggest_categorical({key}, [{listed}]),"
    log = ", log=True" if parameter.log else ""
    return f"{key}: trial.suggest_float({key}, {parameter.low!r}, {parameter.high!r}{log}),"
