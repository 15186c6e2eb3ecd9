"""BERT and GPT-2 with fresh weights, from transformers' configurations; nothing is fetched."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from autotune.errors import MissingExtra

# transformers looks in each forward whether several texts were packed into a window, and waits for
# the device to tell it; windows here never are. Its own attention, told so:
ATTENTION = "autotune-unpacked"


def gpt2(name: str, **sizes: Any) -> nn.Module:
    """Return GPT-2 with the sizes that are not those of its smallest; ``name`` is the task's.

    It keeps no cache and drops nothing, as nanoGPT trains it.
    """
    library = _library(name)
    config = library.GPT2Config(
        **{
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            # The same function as GPT-2's "gelu_new", in one operation.
            "activation_function": "gelu_pytorch_tanh",
            "bos_token_id": None,
            "eos_token_id": None,
            "use_cache": False,
            **sizes,
        }
    )
    config._attn_implementation = ATTENTION
    return cast(nn.Module, library.GPT2LMHeadModel(config))


def bert(name: str, **sizes: Any) -> nn.Module:
    """Return BERT that tells hidden tokens, with the sizes that are not BERT-base's."""
    library = _library(name)
    config = library.BertConfig(**sizes)
    config._attn_implementation = ATTENTION
    return cast(nn.Module, library.BertForMaskedLM(config))


def _library(name: str) -> Any:
    try:
        import transformers
        from transformers.integrations.sdpa_attention import sdpa_attention_forward
    except ImportError as error:
        raise MissingExtra(
            f"the model '{name}' needs the models extra: pip install 'adan-autotune[models]'"
        ) from error
    transformers.AttentionInterface.register(ATTENTION, sdpa_attention_forward)
    return transformers
