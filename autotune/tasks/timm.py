"""Any network of timm by its name: ``timm:resnet18?drop_rate=0.1``, with fresh weights.

After a question mark may stand arguments of the network, in JSON, and ``img_size``: the pixels of a
side of the images, where the network takes others than it was designed for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from autotune import registry
from autotune.data import sources
from autotune.data.digits_pair import Recipe
from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.tasks.mistakes import described, telling
from autotune.tasks.query import values
from autotune.tasks.supervised import Supervised

STEPS, BATCH_SIZE = 243, 32
_SIDE = 224  # pixels, where timm does not say
_ALL = "those of timm.list_models()"
_SIZE = "img_size"
_OURS = ("checkpoint_path", "in_chans", "num_classes", "pretrained")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A network of timm as it was asked for.

    Args:
        text: All of it.
        name: Of the network.
        given: Its arguments.
    """

    text: str
    name: str
    given: Mapping[str, Any]

    def __call__(self, data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
        """Return the task; raises SpecError or MissingExtra where it cannot be built."""
        library = _library(self.text)
        if not library.is_model(self.name):
            known = registry.unknown("network of timm", self.name, [_ALL], library.list_models())
            raise UnknownName(known)
        side, arguments = self._size(library.get_pretrained_cfg(self.name))
        images = sources.images(data, digits=Recipe(size=side))

        def build(seed: int) -> nn.Module:
            with telling(f"building {self.text}"):
                made = library.create_model(
                    self.name, pretrained=False, num_classes=images.classes, **arguments
                )
            return cast(nn.Module, made)

        return Supervised(
            name=f"timm-{self.name}",
            origin={"model": self.text},
            build=build,
            data=images,
            steps=steps or STEPS,
            batch_size=batch_size or BATCH_SIZE,
        )

    def _size(self, designed: Any) -> tuple[int, dict[str, Any]]:
        """Return the side of the images, and the arguments that timm is to be given."""
        channels, height, width = getattr(designed, "input_size", None) or (3, _SIDE, _SIDE)
        rest = {key: value for key, value in self.given.items() if key != _SIZE}
        side = self.given.get(_SIZE, height)
        if channels != 3 or (height != width and _SIZE not in self.given):
            raise SpecError(
                f"{self.text} takes images of {channels} by {height} by {width}; the data are "
                "squares of 3 colours"
            )
        if type(side) is not int or side < 1:
            raise SpecError(f"{self.text}: {_SIZE} must be a whole number above 0, got {side}")
        # A convolutional network takes images of any size, and no argument that says so.
        fixed = _SIZE in self.given and getattr(designed, "fixed_input_size", False)
        return side, {**rest, _SIZE: side} if fixed else rest


def _library(text: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingExtra(f"{text} needs timm: pip install timm") from error
    except Exception as error:
        # torchvision, which timm imports, raises RuntimeError beside another torch than its own.
        raise MissingExtra(
            f"{text} cannot import timm: {described(error)}; install the torchvision that belongs "
            f"to torch {torch.__version__}"
        ) from error
    return timm


class _Family:
    """Tasks by what stands after ``timm:``."""

    form = "NAME"

    def names(self) -> list[str]:
        """Return no names: timm has hundreds, and need not be installed."""
        return []

    def __call__(self, text: str) -> Callable[..., Supervised]:
        """Return what makes the task of a network; raises SpecError."""
        name, mark, query = text.partition("?")
        full = f"timm:{text}"
        try:
            given = values(query, strict=bool(mark))
        except ValueError:
            given = {}
        if not name or (mark and not given):
            raise SpecError(
                f"{full}: write timm:NAME, or timm:NAME?name=value&name=value with values as in "
                "JSON"
            )
        for key in _OURS:
            if key in given:
                raise SpecError(f"{full}: {key} is the search's own to set; leave it out")
        return Wanted(text=full, name=name, given=given)


FAMILY = _Family()
