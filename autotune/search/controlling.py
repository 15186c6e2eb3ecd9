"""Controllers in a search: tried on its model before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.errors import SpecError
from autotune.optimizers.controllers import KEY, NONE
from autotune.search.foreign import ends
from autotune.space.controlled import is_word
from autotune.space.presets import presets_of
from autotune.space.spaces import Choice, Space
from autotune.studies.names import BATCHED
from autotune.studies.spec import SearchSpec
from autotune.tasks.base import Task, trains_itself


def check(spec: SearchSpec, task: Task, engine: str, spaces: Mapping[str, Space]) -> None:
    """Refuse a controller where an optimizer, its model or the engine cannot have it.

    Each end of a range is built on the task's model; for a loop of the user's own, whose model is
    not known before it runs, on a small one.

    Raises:
        SpecError: It cannot be had.
    """
    controlled = {name: space for name, space in spaces.items() if _names(space)}
    if not controlled:
        return
    (chosen, *_), (optimizer, *_) = _names(next(iter(controlled.values()))), controlled
    if spec.command is not None:
        raise SpecError(_refused(chosen, optimizer, "a command builds its optimizer itself"))
    if engine == BATCHED:
        why = f"engine '{BATCHED}' steps many replicas at once; run it on the engine 'processes'"
        raise SpecError(_refused(chosen, optimizer, why))
    _build(task, controlled)


def _build(task: Task, controlled: Mapping[str, Space]) -> None:
    from torch import nn

    from autotune.training.building import optimizer_of

    own = trains_itself(task)
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)]) if own else task.start(0).model
    for name, space in controlled.items():
        reference = presets_of(name, space)[0].setting.params
        for params in _ends(space):
            setting = space.setting({**reference, **params})
            try:
                optimizer_of(model, name, setting.hyper)
            except (TypeError, ValueError) as error:
                raise SpecError(_refused(setting.hyper[KEY], name, str(error))) from error


def _names(space: Space) -> list[str]:
    """Return the controllers that settings of a space may have."""
    found = space.parameters.get(KEY, space.fixed.get(KEY, NONE))
    words = found.options if isinstance(found, Choice) else [found]
    return [str(word) for word in words if word != NONE]


def _ends(space: Space) -> list[dict[str, float | str]]:
    """Return the controlled setting, and it at each end of its own ranges."""
    on: dict[str, float | str] = {KEY: _names(space)[0]} if KEY in space.parameters else {}
    own = {k: parameter for k, parameter in space.parameters.items() if is_word(k) and k != KEY}
    return [on, *({**on, key: value} for key, one in own.items() for value in ends(one))]


def _refused(controller: str, optimizer: str, why: str) -> str:
    return f"controller '{controller}' cannot be had with {optimizer}: {why}"
