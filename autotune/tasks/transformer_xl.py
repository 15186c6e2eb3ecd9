"""Transformer-XL, which remembers segments: a small one on bytes, and the paper's for a GPU.

A batch holds windows of several segments in a row, and the memory goes from one to the next within
the step. So a step is a function of seed and number, and a trial resumes anywhere; the paper's step
is one segment, and its memory is of weights before the last update.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from autotune.data import sources
from autotune.data.text_files import BYTES
from autotune.data.windows import Windows
from autotune.models.transformer_xl import Shape, TransformerXL
from autotune.tasks.base import Presets, Shortest
from autotune.tasks.supervised import Supervised

# The authors of Adan on WikiText-103, for 50,000 and for 200,000 steps.
_ADAN = {"betas": (0.9, 0.9, 0.999), "weight_decay": 2e-2, "max_grad_norm": 0.25}
PRESETS: Presets = MappingProxyType(
    {
        "adan": [
            {"origin": "authors-transformer-xl", "lr": 1.5e-3, "warmup": 0.1, **_ADAN},
            {"origin": "authors-transformer-xl-long", "lr": 1e-3, "warmup": 0.015, **_ADAN},
        ],
        "adam": [
            {
                "origin": "authors-transformer-xl",
                "lr": 2.5e-4,
                "max_grad_norm": 0.25,
                "warmup": 0.015,
            }
        ],
    }
)
WORDS = 267_735  # of WikiText-103
_MINI = Shape(layers=2, width=64, heads=4, inner=256, vocabulary=BYTES, segment=32, memory=32)
# The paper's base on WikiText-103, but for its adaptive softmax.
_BASE = Shape(
    layers=16,
    width=410,
    heads=10,
    inner=2100,
    vocabulary=WORDS,
    segment=150,
    memory=150,
    dropout=0.1,
)


def mini(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """Transformer-XL of 0.1 million parameters on bytes, 7 seconds a full run; for text."""
    task = _task("txl-mini", _MINI, data, steps or 243, batch_size or 8, segments=3)
    return replace(task, shortest=Shortest(steps=31))


def base(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """Transformer-XL's base: 41 million parameters and the words; for a GPU."""
    return _task("txl-base", _BASE, data, steps or 2000, batch_size or 15, segments=4)


def _task(
    name: str, shape: Shape, data: str | None, steps: int, batch_size: int, *, segments: int
) -> Supervised:
    tokens = sources.tokens(data, vocabulary=shape.vocabulary)
    shape = replace(shape, vocabulary=tokens.vocabulary)
    return Supervised(
        name=name,
        build=lambda seed: TransformerXL(shape),
        data=Windows(tokens=tokens, context=segments * shape.segment, validation_windows=128),
        steps=steps,
        batch_size=batch_size,
        presets=PRESETS,
    )
