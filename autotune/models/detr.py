"""DETR (arXiv 2005.12872): a residual network and a transformer that answers with a set of boxes.

The paper begins with a backbone trained on ImageNet and keeps its batch normalisation frozen. Here
nothing is fetched, so the backbone is trained as well, with its normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor, nn

from autotune.models.library import transformers


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large a DETR is.

    Args:
        queries: Boxes of an answer, at least as many as an image shows.
        width: Numbers of a token.
        heads: Of attention.
        inner: Width of the inner layer of a block.
        encoder: Blocks of the encoder.
        decoder: Blocks of the decoder, each of which answers.
        dropout: Share of numbers dropped while training.
        backbone: What differs in transformers' ResNetConfig from a ResNet-50.
    """

    queries: int
    width: int
    heads: int
    inner: int
    encoder: int
    decoder: int
    dropout: float = 0.0
    backbone: dict[str, Any] = field(default_factory=dict)


R50 = Shape(queries=100, width=256, heads=8, inner=2048, encoder=6, decoder=6, dropout=0.1)
MINI = Shape(
    queries=4,
    width=64,
    heads=4,
    inner=128,
    encoder=1,
    decoder=2,
    backbone={
        "embedding_size": 16,
        "hidden_sizes": [32, 64],
        "depths": [1, 1],
        "layer_type": "basic",
    },
)


class DETR(nn.Module):
    """Images of shape (batch, 3, height, width) to the answer of each block of the decoder."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        library = transformers("DETR")
        stages = len(shape.backbone.get("depths", [3, 4, 6, 3]))
        backbone = library.ResNetConfig(**shape.backbone, out_features=[f"stage{stages}"])
        config = library.DetrConfig(
            backbone_config=backbone,
            num_labels=classes,
            num_queries=shape.queries,
            d_model=shape.width,
            encoder_layers=shape.encoder,
            decoder_layers=shape.decoder,
            encoder_attention_heads=shape.heads,
            decoder_attention_heads=shape.heads,
            encoder_ffn_dim=shape.inner,
            decoder_ffn_dim=shape.inner,
            dropout=shape.dropout,
            auxiliary_loss=True,
        )
        self.network = library.DetrForObjectDetection(config)
        # The library freezes what it takes for trained weights, and its normalisation with it.
        self.network.model.backbone.model = library.AutoBackbone.from_config(backbone)
        _initialise(self.network)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of (block, batch, query, class) and boxes as centre, width and height.

        The last class is "no object"; boxes are fractions of the image's side.
        """
        hidden = self.network.model(images).intermediate_hidden_states
        boxes = self.network.bbox_predictor(hidden).sigmoid()
        return cast(Tensor, self.network.class_labels_classifier(hidden)), boxes


def _initialise(network: Any) -> None:
    """Draw weights as the authors' code does; the library's are for weights that are loaded."""
    for part in (network.model.encoder, network.model.decoder):
        for weight in part.parameters():
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)
    heads = (network.class_labels_classifier, *network.bbox_predictor.layers)
    for layer in (network.model.query_position_embeddings, network.model.input_projection, *heads):
        layer.reset_parameters()
