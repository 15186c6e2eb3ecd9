"""What is done to gradients in a search: tried on what it holds before any of it is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import product

from autotune.errors import SpecError
from autotune.optimizers import controllers
from autotune.optimizers.options import DEFAULTS, EXCLUDING, FILTERS, READ, coordinate
from autotune.optimizers.registry import is_foreign
from autotune.search.foreign import ends
from autotune.space.presets import presets_of
from autotune.space.spaces import Space
from autotune.studies.setting import Setting

_PLAIN = ("lr", "weight_decay", "eps")  # numbers, which a spec has checked


def check(spaces: Mapping[str, Space]) -> None:
    """Refuse spaces with options that their optimizer does not take, or not together.

    Optimizers of this package are built at all choices and ends of ranges of such options, and of
    other arguments that are searched or fixed only where somebody asks for them.

    Raises:
        SpecError: The optimizer refuses one, or what is asked for has no effect.
    """
    ours = {name: space for name, space in spaces.items() if not is_foreign(name)}
    _refuse_unread(ours.values())
    for name, space in ours.items():
        for setting in _settings(name, space):
            _build(name, setting)


def _refuse_unread(spaces: Collection[Space]) -> None:
    """Refuse what is read by something that is off in each of the spaces that ask for it."""
    for switch, by_value in READ.items():
        for value, read in by_value.items():
            for name in map(coordinate, read):
                asking = [space for space in spaces if name in space.asked]
                if asking and not any(_may_be_on(space, switch, value) for space in asking):
                    on = repr(value) if value in FILTERS else "above 0"
                    raise SpecError(
                        f"space.{name} has an effect only where {switch} is {on}; set "
                        f"space.{switch} so, or leave it out"
                    )


def _may_be_on(space: Space, switch: str, value: str) -> bool:
    if switch in space.parameters:
        words = ends(space.parameters[switch])
    else:
        words = [space.fixed.get(switch, space.defaults[switch])]
    return any(word == value if value in FILTERS else word != DEFAULTS[switch] for word in words)


def _settings(name: str, space: Space) -> Iterator[Setting]:
    """Yield the setting that tuning is compared with, with each combination of options.

    And with each value of the arguments that only who asks for them has.
    """
    reference = presets_of(name, space)[0].setting
    own = sorted(space.asked & space.defaults.keys() - set(_PLAIN))
    if own:
        yield reference  # which has what is fixed
    for key in [key for key in own if key in space.parameters]:
        for value in ends(space.parameters[key]):
            yield space.setting({**reference.params, key: value})
    if READ.keys().isdisjoint(reference.hyper):
        return
    varied = [key for key in (*READ, *EXCLUDING) if key in space.parameters]
    for values in product(*(ends(space.parameters[key]) for key in varied)):
        yield space.setting({**reference.params, **dict(zip(varied, values, strict=True))})


def _build(name: str, setting: Setting) -> None:
    import torch

    from autotune.optimizers import create

    own, _ = controllers.parted(setting.hyper)  # a controller is of the model, checked beside
    try:
        create(name, [torch.nn.Parameter(torch.ones(2, 2))], **own)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name} does not take what its space holds: {error}") from error
