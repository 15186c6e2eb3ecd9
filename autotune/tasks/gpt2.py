"""GPT-2, which predicts the next token: a small one on bytes, and the authors' for a GPU."""

from __future__ import annotations

from types import MappingProxyType

from autotune.data import sources
from autotune.data.text_files import BYTES
from autotune.data.windows import Windows
from autotune.models.language import gpt2
from autotune.tasks.base import Presets, Shortest
from autotune.tasks.supervised import Supervised

# Adan's: GPT-2 of 345 million parameters for 150,000 steps. nanoGPT's: 124 million, 600,000 steps.
PRESETS: Presets = MappingProxyType(
    {
        "adan": [
            {
                "origin": "authors-gpt2",
                "lr": 2.5e-3,
                "betas": (0.98, 0.92, 0.95),
                "weight_decay": 5e-2,
                "max_grad_norm": 1.0,
                "warmup": 0.027,
            }
        ],
        "adamw": [
            {
                "origin": "authors-nanogpt",
                "lr": 6e-4,
                "betas": (0.9, 0.95),
                "weight_decay": 0.1,
                "max_grad_norm": 1.0,
                "warmup": 0.0033,
            }
        ],
    }
)
VOCABULARY, CONTEXT = 50_257, 1024
_MINI = 64


def mini(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """GPT-2 of 0.1 million parameters on bytes, 6 seconds a full run; for text."""
    tokens = sources.tokens(data, vocabulary=BYTES)
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_positions": _MINI}
    return Supervised(
        name="gpt2-mini",
        build=lambda seed: gpt2("gpt2-mini", vocab_size=tokens.vocabulary, **sizes),
        data=Windows(tokens=tokens, context=_MINI),
        steps=steps or 243,
        batch_size=batch_size or 16,
        presets=PRESETS,
        shortest=Shortest(steps=31),
    )


def small(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """GPT-2 (124 million parameters) with its 1,024 tokens a window; for a GPU."""
    return _authors("gpt2", data, steps, batch_size or 32)


def medium(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """GPT-2 of 345 million parameters with its 1,024 tokens a window; for a GPU."""
    sizes = {"n_layer": 24, "n_head": 16, "n_embd": 1024}
    return _authors("gpt2-medium", data, steps, batch_size or 16, **sizes)


def _authors(
    name: str, data: str | None, steps: int | None, batch_size: int, **sizes: int
) -> Supervised:
    tokens = sources.tokens(data, vocabulary=VOCABULARY).within(VOCABULARY, f"model '{name}'")
    return Supervised(
        name=name,
        build=lambda seed: gpt2(name, **sizes),
        data=Windows(tokens=tokens, context=CONTEXT),
        steps=steps or 2000,
        batch_size=batch_size,
        presets=PRESETS,
    )
