"""Arguments of a setting that was made elsewhere: whether its optimizer takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune import optimizers
from autotune.errors import SpecError, UnknownName
from autotune.registry import unknown
from autotune.space.controlled import is_word


def as_torch(hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with tuples for the lists of JSON, as optimizers take them."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in hyper.items()}


def refuse_arguments(
    optimizer: str, hyper: Mapping[str, Any], further: Mapping[str, Any], said: str
) -> None:
    """Refuse what an optimizer does not take.

    Controllers need the search's own model, on which a search tries them.

    Args:
        optimizer: Which.
        hyper: Its keyword arguments; the others keep its defaults.
        further: Defaults that lead, and arguments that a space adds to the optimizer's own.
        said: What the arguments are of; begins the sentence.

    Raises:
        SpecError: It refuses a value.
        UnknownName: It has no argument of that name.
    """
    from torch import nn

    known = {**optimizers.defaults(optimizer), **further}
    for name in hyper:
        if name not in known:
            raise UnknownName(f"{said}: {unknown('argument', name, known)}")
    try:
        own = {k: v for k, v in hyper.items() if not is_word(k)}
        # The first matrix is a hidden one, without which there is nothing for Muon to step.
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        optimizers.build(optimizer, model, own)
        positive = float(hyper.get("lr", known["lr"])) > 0
    except (TypeError, ValueError) as error:
        raise SpecError(f"{said}: {error}") from None
    if not positive:
        raise SpecError(f"{said}: lr must be positive, got {hyper['lr']}")
