"""Windows in which some tokens are hidden, to be told from the rest: BERT's masked tokens.

Of a window 15 % of the places are chosen; of these, 80 % show the mask, 10 % another token drawn
from the vocabulary and 10 % what they hold (Devlin et al., arXiv:1810.04805, section 3.1). As in
the authors' code every window has the same number of chosen places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autotune.data.base import Batch, Data
from autotune.data.seeds import generator

NOTHING = -100  # the label of a place that was not chosen: cross_entropy leaves it out
_MASKED, _REPLACED = 0.8, 0.1


@dataclass(frozen=True, kw_only=True)
class Masked:
    """Windows with hidden tokens; what is hidden follows seed and step.

    Args:
        windows: Where the tokens come from.
        mask: The token that hides, which the windows do not hold or seldom.
        share: Part of the places that is chosen.
    """

    windows: Data
    mask: int
    share: float = 0.15

    @property
    def name(self) -> str:
        """Return the data as ``--data`` takes it."""
        return self.windows.name

    @property
    def classes(self) -> int:
        """Return the size of the vocabulary."""
        return self.windows.classes

    @property
    def samples(self) -> int:
        """Return the windows of the training part."""
        return self.windows.samples

    def facts(self) -> Mapping[str, Any]:
        """Return those of the windows, and what is hidden how."""
        return {**self.windows.facts(), "masked": self.share, "mask_token": self.mask}

    def batch(self, seed: int, step: int, size: int) -> Batch:
        """Return windows of the training part with tokens hidden, and those tokens."""
        tokens, _ = self.windows.batch(seed, step, size)
        return self._hidden(tokens, generator("masks", seed, step))

    def validation(self) -> Sequence[Batch]:
        """Return the held-out windows, hidden alike for every seed."""
        chance = generator("validation masks")
        return [self._hidden(tokens, chance) for tokens, _ in self.windows.validation()]

    def _hidden(self, tokens: Tensor, chance: torch.Generator) -> Batch:
        count = max(1, round(self.share * tokens.shape[1]))
        places = torch.rand(tokens.shape, generator=chance).argsort(1)[:, :count]
        kind = torch.rand(places.shape, generator=chance)
        drawn = torch.randint(self.classes, places.shape, generator=chance)
        held = tokens.gather(1, places)
        shown = torch.where(kind < _MASKED + _REPLACED, drawn, held)
        shown = shown.masked_fill(kind < _MASKED, self.mask)
        labels = torch.full_like(tokens, NOTHING).scatter(1, places, held)
        return tokens.scatter(1, places, shown), labels
