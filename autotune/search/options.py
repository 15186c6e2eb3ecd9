"""What is done to gradients in a search: tried on what it holds before any of it is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from autotune.errors import SpecError
from autotune.optimizers.options import READ
from autotune.optimizers.registry import is_foreign
from autotune.search.foreign import ends
from autotune.space.presets import presets_of
from autotune.space.spaces import Space
from autotune.studies.setting import Setting


def check(spaces: Mapping[str, Space]) -> None:
    """Refuse spaces with options that their optimizer does not take, or not together.

    Optimizers of this package are built at all choices and ends of ranges of such options.

    Raises:
        SpecError: The optimizer refuses one.
    """
    for name, space in spaces.items():
        if is_foreign(name):
            continue
        for setting in _settings(name, space):
            _build(name, setting)


def _settings(name: str, space: Space) -> Iterator[Setting]:
    """Yield the setting that tuning is compared with, with each combination of options."""
    reference = presets_of(name, space)[0].setting
    if READ.keys().isdisjoint(reference.hyper):
        return
    varied = [key for key in READ if key in space.parameters]
    for values in product(*(ends(space.parameters[key]) for key in varied)):
        yield space.setting({**reference.params, **dict(zip(varied, values, strict=True))})


def _build(name: str, setting: Setting) -> None:
    import torch

    from autotune.optimizers import create

    try:
        create(name, [torch.nn.Parameter(torch.ones(2, 2))], **setting.hyper)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name} does not take what its space holds: {error}") from error
