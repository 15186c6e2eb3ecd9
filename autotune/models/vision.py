"""Networks for images from transformers' configurations: fresh weights, nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from autotune.models.library import transformers

# Deviation of initial weights in the papers. A sum over few numbers varies less: a network of width
# 64 that begins with it leaves the loss of guessing only after some hundred steps.
SPREAD = 0.02
NARROW = 0.1  # for such networks


def vit(
    classes: int,
    *,
    size: int,
    patch: int,
    width: int,
    layers: int,
    heads: int,
    spread: float = SPREAD,
) -> nn.Module:
    """Return a vision transformer (arXiv 2010.11929) whose class token is classified.

    Args:
        classes: Logits of an image.
        size: Pixels of an image's side.
        patch: Pixels of a patch's side, which divides ``size``.
        width: Numbers of a token; the inner layer of a block has four times as many.
        layers: Blocks.
        heads: Of attention, which divide ``width``.
        spread: Deviation of initial weights.

    Raises:
        MissingExtra: transformers is not installed.
    """
    library = transformers("a vision transformer")
    config = library.ViTConfig(
        image_size=size,
        patch_size=patch,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        initializer_range=spread,
        num_labels=classes,
    )
    return cast(nn.Module, library.ViTForImageClassification(config))


def convnext(
    classes: int, *, patch: int, depths: list[int], widths: list[int], dropped: float = 0.0
) -> nn.Module:
    """Return a ConvNeXt (arXiv 2201.03545).

    Args:
        classes: Logits of an image.
        patch: Pixels of a side that the first convolution takes as one.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        dropped: Most of the samples that skip a block while training; none in the first block.

    Raises:
        MissingExtra: transformers is not installed.
    """
    library = transformers("ConvNeXt")
    config = library.ConvNextConfig(
        patch_size=patch,
        num_stages=len(depths),
        depths=depths,
        hidden_sizes=widths,
        drop_path_rate=dropped,
        num_labels=classes,
    )
    return cast(nn.Module, library.ConvNextForImageClassification(config))


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How large a Swin transformer is.

    Args:
        size: Pixels of an image's side.
        patch: Pixels of a patch's side.
        window: Patches of a window's side.
        width: Numbers of a token in the first stage; each further stage has twice as many.
        depths: Blocks of each stage.
        heads: Of attention, in each stage.
        dropped: Most of the samples that skip a block while training; none in the first block.
        spread: Deviation of initial weights.
    """

    size: int
    patch: int
    window: int
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    dropped: float = 0.0
    spread: float = SPREAD

    @property
    def least(self) -> int:
        """Fewest pixels of a side: the library needs a whole window in the last stage."""
        return self.patch * (((self.window - 1) << len(self.depths) - 1) + 1)


def swin(classes: int, shape: Windows) -> nn.Module:
    """Return a Swin transformer (arXiv 2103.14030): attention in windows that shift.

    Raises:
        MissingExtra: transformers is not installed.
    """
    library = transformers("Swin")
    config = library.SwinConfig(
        image_size=shape.size,
        patch_size=shape.patch,
        window_size=shape.window,
        embed_dim=shape.width,
        depths=list(shape.depths),
        num_heads=list(shape.heads),
        drop_path_rate=shape.dropped,
        initializer_range=shape.spread,
        num_labels=classes,
    )
    return cast(nn.Module, library.SwinForImageClassification(config))


def mae(
    *,
    size: int,
    patch: int,
    width: int,
    layers: int,
    heads: int,
    decoder: tuple[int, int, int],
    spread: float = SPREAD,
) -> nn.Module:
    """Return a masked autoencoder (arXiv 2111.06377) of three quarters of the patches.

    Its loss is that of each masked patch's pixels, less their mean, over their deviation.

    Args:
        size: Pixels of an image's side.
        patch: Pixels of a patch's side.
        width: Numbers of a token in the encoder.
        layers: Blocks of the encoder.
        heads: Of attention in the encoder.
        decoder: Width, blocks and heads of the decoder.
        spread: Deviation of initial weights.

    Raises:
        MissingExtra: transformers is not installed.
    """
    library = transformers("a masked autoencoder")
    inner, blocks, parts = decoder
    config = library.ViTMAEConfig(
        image_size=size,
        patch_size=patch,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        decoder_hidden_size=inner,
        decoder_intermediate_size=4 * inner,
        decoder_num_hidden_layers=blocks,
        decoder_num_attention_heads=parts,
        initializer_range=spread,
        norm_pix_loss=True,
    )
    model = library.ViTMAEForPreTraining(config)
    # The library leaves both at zero where it loads no weights: a network that knows no places.
    with torch.no_grad():
        for places in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
            places.copy_(positions(size // patch, places.shape[-1]))
        for token in (model.vit.embeddings.cls_token, model.decoder.mask_token):
            nn.init.normal_(token, std=spread)
    return cast(nn.Module, model)


def positions(side: int, width: int) -> Tensor:
    """Return sines and cosines of both places in a square grid, after a row of zeros.

    Args:
        side: Places across and down; they are numbered row by row.
        width: Numbers of each, a multiple of 4.

    Returns:
        A tensor of shape (1 + side * side, width).
    """
    rates = 10_000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    across = torch.arange(side).repeat(side)[:, None] * rates
    down = torch.arange(side).repeat_interleave(side)[:, None] * rates
    found = torch.cat([across.sin(), across.cos(), down.sin(), down.cos()], dim=1)
    return torch.cat([torch.zeros(1, width), found.float()])
