"""BERT, which learns to tell masked tokens: a small one on bytes, and the paper's for a GPU."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from autotune.data import sources
from autotune.data.masked import Masked
from autotune.data.text_files import BYTES
from autotune.data.windows import Windows
from autotune.models.language import bert
from autotune.tasks.base import Presets, Shortest
from autotune.tasks.masked_tokens import MaskedTokens
from autotune.tasks.supervised import Supervised

# Pre-training of BERT-base by the authors of Adan, a million steps of 256 windows.
PRESETS: Presets = MappingProxyType(
    {
        "adan": [
            {
                "origin": "authors-bert",
                "lr": 1e-3,
                "weight_decay": 2e-2,
                "max_grad_norm": 5.0,
                "warmup": 0.01,
            }
        ],
        "adamw": [{"origin": "authors-bert", "lr": 1e-4, "weight_decay": 1e-2, "warmup": 0.01}],
    }
)
VOCABULARY, MASK = 30_522, 103  # of bert-base-uncased, and its [MASK]
_MINI, _BASE = 32, 512  # tokens of a window


def mini(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """BERT of 0.1 million parameters on masked bytes, 7 seconds a full run; for text."""
    tokens = sources.tokens(data, vocabulary=BYTES)
    sizes: dict[str, Any] = {
        "vocab_size": tokens.vocabulary + 1,
        "max_position_embeddings": _MINI,
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        # BERT's 0.02 is for a width of 768; as small a one learns nothing for half of a short run.
        "initializer_range": 0.07,
    }
    windows = Windows(tokens=tokens, context=_MINI)
    return Supervised(
        name="bert-mini",
        build=lambda seed: bert("bert-mini", **sizes),
        data=Masked(windows=windows, mask=tokens.vocabulary),
        steps=steps or 300,
        batch_size=batch_size or 32,
        objective=MaskedTokens,
        presets=PRESETS,
        shortest=Shortest(steps=38),
    )


def base(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """BERT-base (110 million parameters) with its 512 tokens a window; for a GPU."""
    tokens = sources.tokens(data, vocabulary=VOCABULARY).within(VOCABULARY, "model 'bert-base'")
    # Bytes leave numbers of the vocabulary over, the first of which hides; BERT's tokens do not.
    mask = MASK if tokens.vocabulary == VOCABULARY else tokens.vocabulary
    windows = Windows(tokens=tokens, context=_BASE)
    return Supervised(
        name="bert-base",
        build=lambda seed: bert("bert-base"),
        data=Masked(windows=windows, mask=mask),
        steps=steps or 2000,
        batch_size=batch_size or 32,
        objective=MaskedTokens,
        presets=PRESETS,
    )
