"""Controllers in a space: the words ``controller`` and ``controller_...`` among an optimizer's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.errors import SpecError, UnknownName
from autotune.optimizers import controllers
from autotune.optimizers.controllers import KEY, NONE
from autotune.registry import unknown

_OWN = f"{KEY}_"


def is_word(name: str) -> bool:
    """Tell whether a parameter of a space is of a controller."""
    return name == KEY or name.startswith(_OWN)


def defaults(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an optimizer's arguments say of controllers where none is chosen.

    Args:
        changes: What a user's space says, by parameter. Nothing is returned where no controller is
            named.
    """
    name = chosen(changes)
    return {} if name is None else {KEY: NONE, **_own(name)}


def spelled(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's changes with every argument of the controller that they name.

    A stored setting then says all of them, whatever a later version's defaults are.

    Raises:
        UnknownName: There is no such controller, or it has no such argument.
        SpecError: Arguments are given without a controller, or two controllers are named.
    """
    own = {key: value for key, value in changes.items() if is_word(key)}
    name, others = chosen(changes), {k: v for k, v in changes.items() if k not in own}
    if name is None:
        for key in own if KEY not in own else ():
            raise SpecError(
                f"space.{key} is for a controller, and none is chosen; give --controller NAME or "
                "leave it out"
            )
        return others
    known = _own(name)
    for key in own:
        if key not in (KEY, *known):
            raise UnknownName(unknown(f"parameter of controller '{name}'", key, known))
    return {**others, **{k: v for k, v in known.items() if v is not None}, **own}


def chosen(changes: Mapping[str, Any]) -> str | None:
    """Return the controller that a space has, fixed or as a choice beside 'none'; None for none.

    Raises:
        UnknownName: There is no such controller.
        SpecError: It has two.
    """
    given = changes.get(KEY, NONE)
    words = [given] if isinstance(given, str) else list(given)
    names = [word for word in words if word != NONE]
    for name in names:
        if name not in controllers.names():
            raise UnknownName(unknown("controller", str(name), [*controllers.names(), NONE]))
    if len(names) > 1:
        raise SpecError(
            f"space.{KEY} may choose between none and one controller, got {' and '.join(names)}; "
            "search them apart"
        )
    return names[0] if names else None


def _own(name: str) -> dict[str, Any]:
    return {f"{_OWN}{key}": value for key, value in controllers.options(name).items()}
