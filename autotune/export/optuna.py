"""Write the space that was searched as an objective's first lines; for a study of Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import Template
from typing import Any

from autotune.errors import SpecError
from autotune.export import searched
from autotune.export.header import lines
from autotune.export.python import docstring, entries, literal
from autotune.results.best import Ranked
from autotune.results.tuned import Tuned
from autotune.space.coordinates import DEFAULT_WARMUP, encode
from autotune.space.spaces import Choice, Parameter, Range

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

_BEST = Template('''\
"""$provenance

To try them first in a training of your own:

    def objective(trial):
        chosen = suggest(trial)
        optimizer = chosen.build(model)
        schedule = chosen.schedule(optimizer)  # step it after each optimizer step
        ...
        return validation_loss

    study().optimize(objective, n_trials=30)

To go on from their losses, where exactly this task is trained to the same length:

    made = optuna.create_study(sampler=sampler())
    made.add_trials(trials())
"""

from __future__ import annotations

from typing import Any

import optuna
from autotune.integrations.optuna import sampler
from autotune.integrations.suggestion import Suggestion, from_config
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)

CONSTANTS: dict[str, Any] = {
$constants
}
# What was searched, $held.
SPACE: dict[str, BaseDistribution] = {
$space
}
# The best settings, the recommended one first: where, after which loss, with which evidence.
BEST: list[tuple[dict[str, Any], float, dict[str, Any]]] = [
$best
]


def suggest(trial: optuna.trial.BaseTrial) -> Suggestion:
    """Let a trial choose a setting in the space."""
    chosen: dict[str, Any] = {
$suggested
    }
    return from_config({**CONSTANTS, **chosen})


def trials() -> list[optuna.trial.FrozenTrial]:
    """Return the best settings as finished trials, with the losses that were measured."""
    return [
        optuna.create_trial(params=params, distributions=SPACE, value=loss, user_attrs=attrs)
        for params, loss, attrs in BEST
    ]


def study(**given: Any) -> optuna.Study:
    """Make a study that tries the best settings first; ``given`` is for ``create_study``."""
    made = optuna.create_study(**{"sampler": sampler(), **given})
    for params, _, attrs in BEST:
        made.enqueue_trial(params, user_attrs=attrs, skip_if_exists=True)
    return made
''')


def render(tuned: Tuned) -> str:
    """Write a module with ``suggest(trial)`` and ``study()``; refuse a record without a space."""
    space = searched.space(tuned, FORM)
    constants = searched.configuration(tuned, FORM, {})
    found = searched.found(tuned, FORM)
    return _FILE.substitute(
        provenance=docstring(lines(tuned)),
        constants=entries(constants),
        found=entries({name: found[name] for name in space.parameters}),
        suggested=_suggestions(space.parameters),
    )


def render_best(found: Sequence[Ranked]) -> str:
    """Write a module with ``trials()`` for a study to add, and ``study()`` that tries them first.

    A setting of a search may lie outside what was searched, as authors' settings do, and in Optuna
    no trial may: the ranges of the file hold all of them, and what else differs is a choice.
    """
    tuned = found[0].record
    if tuned.target:
        raise SpecError(
            f"export '{FORM}' gives the best settings with the losses that were measured, and "
            "settings restated for another run have none; use --as json, or leave out the target"
        )
    space = searched.space(tuned, FORM)
    params = [searched.found(one.record, FORM) for one in found]
    names = list(dict.fromkeys(name for each in params for name in each))
    default = encode(space.setting({}).hyper, DEFAULT_WARMUP)
    params = [{name: each.get(name, default.get(name)) for name in names} for each in params]
    held = {n: _held(space.parameters.get(n), [each[n] for each in params]) for n in names}
    wider = [name for name in names if held[name] != space.parameters.get(name)]
    constants = searched.configuration(tuned, FORM, {})
    return _BEST.substitute(
        provenance=docstring(lines(tuned)),
        constants=entries({k: v for k, v in constants.items() if k not in held}),
        held=f"widened to hold them in {', '.join(wider)}" if wider else "which holds them all",
        space="\n".join(
            f"    {literal(name)}: {_distribution(each)}," for name, each in held.items()
        ),
        best="\n".join(_ranked(*pair) for pair in zip(params, found, strict=True)),
        suggested=_suggestions(held),
    )


def _held(parameter: Parameter | None, values: Sequence[Any]) -> Parameter:
    """Return a parameter that allows these values as well."""
    if isinstance(parameter, Range):
        low, high = min(parameter.low, *values), max(parameter.high, *values)
        return replace(parameter, low=low, high=high)
    options = parameter.options if parameter else ()
    return Choice(options=tuple(dict.fromkeys((*options, *values))))


def _ranked(params: Mapping[str, Any], one: Ranked) -> str:
    """Return an entry of the list: its setting, its loss on the search's own seed, the rest."""
    about = {
        "search": one.record.provenance.search,
        "trial": one.record.provenance.trial,
        "stage": one.stage,
        **{f"loss on seed {seed}": loss for seed, loss in one.losses.items()},
    }
    loss = one.losses[min(one.losses)]
    lines = (_dictionary(params), repr(loss), _dictionary(about))
    return "\n".join(["    (", *(f"        {line}," for line in lines), "    ),"])


def _dictionary(values: Mapping[str, Any]) -> str:
    return (
        f"{{{', '.join(f'{literal(name)}: {literal(value)}' for name, value in values.items())}}}"
    )


def _distribution(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        return f"CategoricalDistribution([{_options(parameter)}])"
    return f"FloatDistribution({_ends(parameter)})"


def _suggestions(parameters: Mapping[str, Parameter]) -> str:
    return "\n".join(f"        {_suggested(name, each)}" for name, each in parameters.items())


def _suggested(name: str, parameter: Parameter) -> str:
    key = literal(name)
    if isinstance(parameter, Choice):
        return f"{key}: trial.suggest_categorical({key}, [{_options(parameter)}]),"
    return f"{key}: trial.suggest_float({key}, {_ends(parameter)}),"


def _options(parameter: Choice) -> str:
    options: list[Any] = list(parameter.options)
    return ", ".join(map(literal, options))


def _ends(parameter: Range) -> str:
    return f"{parameter.low!r}, {parameter.high!r}{', log=True' if parameter.log else ''}"
