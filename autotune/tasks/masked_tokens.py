"""Cross-entropy on the tokens that were hidden, and on no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from autotune.data.base import Batch
from autotune.data.masked import NOTHING
from autotune.tasks.constant import of_labels
from autotune.tasks.precision import Precision
from autotune.tasks.training import CrossEntropy, Unread


@dataclass(frozen=True)
class MaskedTokens:
    """Cross-entropy of labels that are not NOTHING, of which every window has as many."""

    precision: Precision = Precision.FLOAT32

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean over the hidden tokens."""
        return cross_entropy(self._logits(model, batch), batch[1].flatten(), ignore_index=NOTHING)

    def measure(self, model: nn.Module, batch: Batch) -> Unread:
        """Return loss, and the share of hidden tokens that have the highest logit."""
        labels, logits = batch[1].flatten(), self._logits(model, batch)
        hidden = labels != NOTHING
        right = ((logits.argmax(1) == labels) & hidden).sum() / hidden.sum()
        loss = cross_entropy(logits, labels, ignore_index=NOTHING)
        return Unread(loss=loss, accuracy=right)

    def weight(self, batch: Batch) -> float:
        """Return the number of windows."""
        return len(batch[1])

    def facts(self, validation: Sequence[Batch]) -> Mapping[str, Any]:
        """Return its metric, and what the frequencies of hidden tokens achieve."""
        hidden = [(inputs, labels[labels != NOTHING]) for inputs, labels in validation]
        return {"metric": "validation loss", **of_labels(hidden)}

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        return CrossEntropy(self.precision).logits(model, batch[0])
