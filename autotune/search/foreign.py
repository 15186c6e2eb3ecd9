"""Other packages' optimizers in a search: tried on what it holds before any of it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.optimizers.registry import is_foreign, stacks
from autotune.space.coordinates import Value
from autotune.space.presets import presets_of
from autotune.space.spaces import Choice, Parameter, Space
from autotune.studies.setting import Setting
from autotune.tasks.base import Task, trains_itself


def check(spaces: Mapping[str, Space]) -> None:
    """Refuse spaces of which one of other packages' optimizers does not take every part.

    The setting that tuning is compared with takes a step; the ends of ranges and all choices are
    built.

    Raises:
        SpecError: The optimizer refuses a value, or cannot step.
    """
    for name, space in _theirs(spaces).items():
        from autotune.training import foreign

        reference = _reference(name, space)
        params = foreign.stepped(name, reference.hyper)
        for key, parameter in space.parameters.items():
            for value in ends(parameter):
                setting = space.setting({**reference.params, key: value})
                foreign.built(name, setting.hyper, params, f"space.{name}.{key} at {value!r}")


def ends(parameter: Parameter) -> Sequence[Value]:
    """Return the options of a choice, or both ends of a range."""
    if isinstance(parameter, Choice):
        return parameter.options
    return (parameter.low, parameter.high)


def check_model(task: Task, spaces: Mapping[str, Space]) -> None:
    """Refuse a task whose model one of them, or Muon, does not take; raises SpecError.

    What trains itself has no model before it runs.
    """
    choosy = {name: space for name, space in spaces.items() if not stacks(name)}
    if choosy and not trains_itself(task):
        from autotune.training import foreign

        model = task.start(0).model
        for name, space in choosy.items():
            foreign.fits(model, name, _reference(name, space))


def _theirs(spaces: Mapping[str, Space]) -> dict[str, Space]:
    return {name: space for name, space in spaces.items() if is_foreign(name)}


def _reference(name: str, space: Space) -> Setting:
    """Return the setting that tuning is compared with."""
    return presets_of(name, space)[0].setting
