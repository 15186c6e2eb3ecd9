"""Boxes as a set: each object is matched with one answer, and the other answers with nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from autotune.data.boxes import NOTHING, BoxBatch
from autotune.tasks.constant import ACCURACY, LOSS
from autotune.tasks.precision import Precision
from autotune.tasks.training import Unread

CLASS, DISTANCE, OVERLAP = 1.0, 5.0, 2.0  # weights of the paper, in the matching and in the loss
EMPTY = 0.1  # weight of "no object" among the classes
FOUND = 0.5  # overlap of a box that counts as found


@dataclass(frozen=True, kw_only=True)
class SetLoss:
    """The loss of DETR (arXiv 2005.12872, equations 1 and 2, weights of appendix A.4).

    The matching is computed on the CPU: a step waits for its costs once.

    Args:
        queries: Boxes of an answer.
        precision: What the model computes in.
    """

    waits: ClassVar[bool] = True  # no step without numbers of the device: not in a graph
    queries: int
    precision: Precision = Precision.FLOAT32

    def loss(self, model: nn.Module, batch: BoxBatch) -> Tensor:
        """Return the sum over the decoder's blocks."""
        images, labels, boxes = batch
        return set_losses(*self._answers(model, images), labels, boxes).sum()

    def measure(self, model: nn.Module, batch: BoxBatch) -> Unread:
        """Return the loss of the last block, and the share of objects that it finds.

        An object is found if the answer matched with it has its class and overlaps it by half.
        """
        images, labels, boxes = batch
        logits, found = (answer[-1:] for answer in self._answers(model, images))
        loss = set_losses(logits, found, labels, boxes).sum()
        return Unread(loss=loss, accuracy=share(logits, found, labels, boxes))

    def weight(self, batch: BoxBatch) -> float:
        """Return the number of objects."""
        return float((batch[1] != NOTHING).sum())

    def facts(self, validation: Sequence[BoxBatch]) -> Mapping[str, Any]:
        """Return its metric, and what the mean box and the shares of classes achieve alone."""
        labels = torch.cat([labels for _, labels, _ in validation])
        boxes = torch.cat([boxes for _, _, boxes in validation])
        there = labels != NOTHING
        objects = labels[there].bincount()
        empty = EMPTY * (len(labels) * self.queries - int(objects.sum()))
        shares = torch.cat([objects.float(), torch.tensor([empty])])
        logits = shares.log().expand(1, len(labels), self.queries, -1)
        found = boxes[there].mean(0).expand(1, len(labels), self.queries, 4)
        return {
            "metric": "validation set loss",
            LOSS: set_losses(logits, found, labels, boxes).sum().item(),
            ACCURACY: share(logits, found, labels, boxes).item(),
        }

    def _answers(self, model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        with self.precision.computing(images.device.type):
            logits, boxes = model(self.precision.laid(images))
        return logits.float(), boxes.float()


def set_losses(logits: Tensor, found: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
    """Return the loss of each block.

    Args:
        logits: Of shape (block, image, query, class), the last class being "no object".
        found: Boxes of shape (block, image, query, 4): centre, width and height.
        labels: Of shape (image, object), with ``NOTHING`` where an image has fewer objects.
        boxes: Of shape (image, object, 4).
    """
    there = labels != NOTHING
    chosen = match(logits, found, labels, boxes)
    empty = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:-1], empty, device=logits.device)
    classes = torch.where(there, labels, empty).expand_as(chosen)
    wanted = wanted.scatter(2, chosen, classes)
    weights = torch.where(wanted == empty, EMPTY, 1.0)
    wrong = cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="none")
    wrong = wrong.view_as(weights)
    matched = found.gather(2, chosen[..., None].expand(-1, -1, -1, 4))
    apart = DISTANCE * (matched - boxes).abs().sum(-1)
    missed = OVERLAP * (1 - generalised_overlap(matched, boxes.expand_as(matched)))
    placed = torch.where(there, apart + missed, 0.0).sum((1, 2)) / there.sum().clamp(min=1)
    return CLASS * (weights * wrong).sum((1, 2)) / weights.sum((1, 2)) + placed


def share(logits: Tensor, found: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
    """Return which part of the objects the last block finds; arguments as of ``set_losses``."""
    there = labels != NOTHING
    chosen = match(logits, found, labels, boxes)[-1]
    named = logits[-1].argmax(-1).gather(1, chosen) == labels
    matched = found[-1].gather(1, chosen[..., None].expand(-1, -1, 4))
    right = named & (overlap(matched, boxes)[0] >= FOUND) & there
    return right.sum() / there.sum().clamp(min=1)


def match(logits: Tensor, found: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
    """Return the query of each object, of shape (block, image, object), at the least total cost.

    Objects that are not there get queries that are left over.
    """
    with torch.no_grad():
        costs = _costs(logits, found, labels, boxes)
        # Of whatever is not finite the loss tells.
        numbers = torch.nan_to_num(costs, nan=0.0).flatten(0, 1).cpu().numpy()
        queries = np.stack([_cheapest(each) for each in numbers])
    return torch.from_numpy(queries).to(logits.device).view(*costs.shape[:2], -1)


def _cheapest(costs: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    queries, objects = linear_sum_assignment(costs)
    return queries[np.argsort(objects)].astype(np.int64)  # type: ignore[no-any-return]


def _costs(logits: Tensor, found: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
    """Return costs of shape (block, image, query, object): the same of all where nothing is."""
    named = one_hot(labels.clamp(min=0), logits.shape[-1]).to(logits.dtype)
    likely = logits.softmax(-1) @ named.mT
    pairs = found[..., :, None, :], boxes[:, None, :, :]
    apart = (pairs[0] - pairs[1]).abs().sum(-1)
    costs = DISTANCE * apart - CLASS * likely - OVERLAP * generalised_overlap(*pairs)
    return torch.where((labels != NOTHING)[:, None, :], costs, 0.0)


def overlap(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection over union of boxes, and the union."""
    (low1, high1), (low2, high2) = _corners(one), _corners(other)
    shared = (torch.minimum(high1, high2) - torch.maximum(low1, low2)).clamp(min=0).prod(-1)
    union = (high1 - low1).prod(-1) + (high2 - low2).prod(-1) - shared
    return shared / union, union


def generalised_overlap(one: Tensor, other: Tensor) -> Tensor:
    """Return the overlap less the part of the smallest box around both that neither covers.

    From -1 to 1 (arXiv 1902.09630); boxes are centre, width and height.
    """
    ratio, union = overlap(one, other)
    (low1, high1), (low2, high2) = _corners(one), _corners(other)
    around = (torch.maximum(high1, high2) - torch.minimum(low1, low2)).prod(-1)
    return ratio - (around - union) / around


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    centre, size = torch.split(boxes, 2, dim=-1)
    return centre - size / 2, centre + size / 2
