"""A ``Problem`` over a stream: batches are made as they are read, none is kept.

autotune search --model streamed.py:problem --steps 81 --optimizer adan --optimizer adamw --trials 6
"""

from collections.abc import Iterator

import torch
from digits import digits, network
from torch import Tensor, nn

import autotune

Batch = tuple[Tensor, Tensor]


def stream(seed: int) -> Iterator[Batch]:
    """Give batches without end, as a web data set or a tokenised corpus does."""
    images, labels = digits()[0].tensors
    chance = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randint(len(images), (32,), generator=chance)
        noise = 0.1 * torch.randn(32, 64, generator=chance)
        yield images[chosen] + noise, labels[chosen]


def problem(seed: int) -> autotune.Problem:
    """Return the model, the stream, and how to measure."""
    return autotune.Problem(
        model=network(seed),
        train=stream,
        validation=[tuple(digits()[1].tensors)],
        loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        batch_size=32,
        identity="digits 8x8 with noise 0.1",
    )
