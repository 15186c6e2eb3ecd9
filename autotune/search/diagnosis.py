"""What the noise of gradients says about a batch, in a sentence."""

from __future__ import annotations

from autotune.results.figures import figure
from autotune.results.noise import GradientNoise
from autotune.training.batch_size import Noise, norm_test

ETA = 0.5  # the loosest of the authors' values, so the smallest batch that they would take


def diagnosis(optimizer: str, noise: GradientNoise, batch: int) -> str:
    """Return what a larger batch would bring, and which one the norm test asks for.

    Args:
        optimizer: Whose runs were measured.
        noise: What was measured.
        batch: Samples of their batches.
    """
    scale = noise.scale
    if scale is None:
        return (
            f"{optimizer}: noise hides the gradient's mean ({noise.origin}): the noise scale lies "
            f"beyond what batches of {batch} can tell; a larger batch trains in fewer steps"
        )
    known = Noise(variance=noise.variance, square=noise.square)
    advised = norm_test(known, batch, ETA)
    change = f", {_samples(noise.early)} early and {_samples(noise.late)} late"
    if scale > batch:
        said = f"batch {batch} is dominated by noise: up to that a larger one trains in fewer steps"
    else:
        said = f"batch {batch} is beyond it: a smaller one would train in hardly more steps"
    test = f"asks for batch {advised}" if advised > batch else f"is content with batch {batch}"
    return (
        f"{optimizer}: gradient noise scale {_samples(scale)} samples{change} ({noise.origin}); "
        f"{said}; the norm test (eta {ETA:g}) {test}"
    )


def _samples(scale: float | None) -> str:
    return "hidden by noise" if scale is None else figure(scale) if scale < 10 else f"{scale:.0f}"
