"""Any architecture of transformers by its configuration: ``hf:gpt2?n_layer=2&n_embd=64``.

What stands after ``hf:`` is a model type of the library, or the path of a config.json or its
folder. After a question mark may stand values of the configuration, in JSON, and three words of
this project: ``as`` (image-classification, masked-lm, causal-lm), ``context`` (tokens of a window)
and ``mask`` (the token that hides others).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from autotune.data import sources
from autotune.data.base import Data
from autotune.data.digits_pair import Recipe
from autotune.data.masked import Masked
from autotune.data.windows import Windows
from autotune.errors import SpecError
from autotune.models.hf import Architecture, Head, read
from autotune.tasks import bert, gpt2
from autotune.tasks.base import Presets
from autotune.tasks.masked_tokens import MaskedTokens
from autotune.tasks.mistakes import telling
from autotune.tasks.query import values
from autotune.tasks.supervised import Supervised
from autotune.tasks.training import CrossEntropy

STEPS, BATCH_SIZE = 243, 32
CONTEXT = 512  # most tokens of a window, unless more are asked for
_IMAGE = 32  # pixels of a side, where a configuration does not say
_OURS = ("as", "context", "mask")
_PRESETS: dict[str, Presets] = {"bert": bert.PRESETS, "gpt2": gpt2.PRESETS}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An architecture with this project's own words about it."""

    network: Architecture
    context: int | None
    mask: int | None

    def __call__(self, data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
        """Return the task; raises SpecError where data and network do not fit."""
        config = self.network.config
        if self.network.head is Head.IMAGES:
            found, changes = self._images(data)
        else:
            found, changes = self._text(data), {}

        def build(seed: int) -> torch.nn.Module:
            with telling(f"building {self.network.text}"):
                return self.network.build(**changes)

        masked = self.network.head is Head.MASKED
        content = {"config_hash": self.network.sha256} if self.network.sha256 else {}
        return Supervised(
            name=f"hf-{config.model_type}",
            origin={"model": self.network.text, **content},
            build=build,
            data=found,
            steps=steps or STEPS,
            batch_size=batch_size or BATCH_SIZE,
            objective=MaskedTokens if masked else CrossEntropy,
            presets=_PRESETS.get(config.model_type, {}),
        )

    def _images(self, data: str | None) -> tuple[Data, dict[str, Any]]:
        config = self.network.config
        for name in ("context", "mask"):
            if getattr(self, name) is not None:
                raise SpecError(f"{self.network.text}: {name} is for text; leave it out")
        channels = getattr(config, "num_channels", 3)
        if channels != 3:
            raise SpecError(
                f"{self.network.text}: num_channels must be 3, as images have, got {channels}"
            )
        side = _side(self.network.text, getattr(config, "image_size", _IMAGE))
        images = sources.images(data, digits=Recipe(size=side))
        return images, {"num_labels": images.classes}

    def _context(self) -> int:
        """Return the tokens of a window: as asked for, else what the network takes."""
        places = getattr(self.network.config, "max_position_embeddings", None)
        if places and self.context and self.context > places:
            raise SpecError(
                f"{self.network.text}: context must be at most {places}, the network's "
                f"max_position_embeddings, got {self.context}"
            )
        return self.context or min(CONTEXT, places or CONTEXT)

    def _text(self, data: str | None) -> Data:
        config, text = self.network.config, self.network.text
        size = getattr(config, "vocab_size", None)
        if not isinstance(size, int):
            raise SpecError(f"{text}: a network of text must have a vocab_size")
        tokens = sources.tokens(data, vocabulary=size).within(size, f"model '{text}'")
        windows = Windows(tokens=tokens, context=self._context())
        if self.network.head is Head.CAUSAL:
            if self.mask is not None:
                raise SpecError(f"{text}: mask is for as=masked-lm; leave it out")
            return windows
        mask = tokens.vocabulary if self.mask is None else self.mask
        if mask >= size:
            raise SpecError(
                f"{text}: the token that hides others must be below vocab_size {size}, got {mask}; "
                "add mask=N, or a larger vocab_size"
            )
        return Masked(windows=windows, mask=mask)


def _side(text: str, size: Any) -> int:
    """Return the pixels of a side of a configuration's images."""
    sides = set(size) if isinstance(size, list | tuple) else {size}
    if len(sides) != 1 or not isinstance(size := sides.pop(), int):
        raise SpecError(f"{text}: image_size must be one whole number, as images are squares")
    return size


class _Family:
    """Tasks by what stands after ``hf:``."""

    form = "CONFIG"

    def names(self) -> list[str]:
        """Return no names: transformers has hundreds, and takes seconds to tell them."""
        return []

    def __call__(self, text: str) -> Callable[..., Supervised]:
        """Return what makes the task of a configuration; raises SpecError."""
        name, _, query = text.partition("?")
        full = f"hf:{text}"
        given = _values(full, query)
        ours = {key: given.pop(key, None) for key in _OURS}
        for key, least in (("context", 1), ("mask", 0)):
            value = ours[key]
            if value is not None and not (type(value) is int and value >= least):
                raise SpecError(f"{full}: {key} must be a whole number from {least}, got {value}")
        network = read(full, name, given, ours["as"])
        return Wanted(network=network, context=ours["context"], mask=ours["mask"])


def _values(full: str, query: str) -> dict[str, Any]:
    try:
        return values(query, strict=bool(query))
    except ValueError:
        raise SpecError(
            f"{full}: write hf:CONFIG, or hf:CONFIG?name=value&name=value with values as in JSON"
        ) from None


FAMILY = _Family()
