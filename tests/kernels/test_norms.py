"""Clipping shortens long gradients and leaves short ones alone."""

import pytest
import torch

from autotune.kernels.rules.norms import clip_factor


@pytest.mark.parametrize(("norm", "factor"), [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (4.0, 0.25)])
def test_gradients_are_scaled_to_the_limit_at_most(norm, factor):
    assert float(clip_factor(torch.tensor(norm), 1.0, 0.0)) == factor
