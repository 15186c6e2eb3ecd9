"""Write the space that was searched as a parameter space; for Ray Tune."""

from __future__ import annotations

from string import Template
from typing import Any

from autotune.export import searched
from autotune.export.header import lines
from autotune.export.python import docstring, entries, literal
from autotune.results.tuned import Tuned
from autotune.space.spaces import Choice, Parameter

suffix = ".py"

FORM = "ray"
_FILE = Template('''\
"""$provenance

Use it in training:

    def trainable(config):
        chosen = from_config(config)
        optimizer = chosen.build(model)
        schedule = chosen.schedule(optimizer)  # step it after each optimizer step
        ...
        tune.report({"loss": validation_loss})

    tune.Tuner(trainable, param_space=PARAM_SPACE).fit()

A searcher takes FOUND as points_to_evaluate, and tries it first.
"""

from __future__ import annotations

from typing import Any

from autotune.integrations.suggestion import from_config
from ray import tune

__all__ = ["FOUND", "PARAM_SPACE", "from_config"]

PARAM_SPACE: dict[str, Any] = {
$constants
$drawn
}
FOUND: list[dict[str, Any]] = [
    {
$found
    }
]
''')


def render(tuned: Tuned) -> str:
    """Write a module with ``PARAM_SPACE`` and ``FOUND``; refuse a record without a space."""
    space = searched.space(tuned, FORM)
    constants = searched.configuration(tuned, FORM, {})
    found = searched.found(tuned, FORM)
    whole = {**constants, **{name: found[name] for name in space.parameters}}
    drawn = [f"    {literal(name)}: {_drawn(each)}," for name, each in space.parameters.items()]
    return _FILE.substitute(
        provenance=docstring(lines(tuned)),
        constants=entries(constants),
        drawn="\n".join(drawn),
        found="\n".join(f"    {line}" for line in entries(whole).splitlines()),
    )


def _drawn(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        options: list[Any] = list(parameter.options)
        return f"tune.choice([{', '.join(map(literal, options))}])"
    make = "loguniform" if parameter.log else "uniform"
    return f"tune.{make}({parameter.low!r}, {parameter.high!r})"
