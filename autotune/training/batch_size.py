"""Which batch the noise of gradients asks for: the norm test, as a diagnosis.

Nothing here changes a run. Gradients of B samples have a total variance V, the sum over all
coordinates of their unbiased variances, and a mean of squared norm N. The gradient of a batch of b
samples is off by V / b on average, so the test asks for b with V / b at most eta^2 N. V / N is the
gradient noise scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How far gradients of single samples are from their mean.

    Args:
        variance: V, summed over all coordinates.
        square: N, the squared norm of the mean.
    """

    variance: float
    square: float

    @property
    def scale(self) -> float:
        """The gradient noise scale: beyond this batch, more samples hardly help a step."""
        return self.variance / self.square if self.square > 0 else math.inf


def of_samples(grads: Sequence[Tensor]) -> Noise:
    """Return the noise of gradients of single samples.

    Args:
        grads: Of each parameter, a tensor of shape (samples, ...), of two samples or more.

    Raises:
        ValueError: There are fewer than two samples, or tensors differ in how many.

    Example:
        >>> import torch
        >>> of_samples([torch.tensor([[1.0], [3.0]])])
        Noise(variance=2.0, square=4.0)
    """
    rows = _rows(grads)
    mean = rows.mean(dim=0)
    variance = (rows - mean).square().sum() / (len(rows) - 1)
    return Noise(variance=float(variance), square=float(mean.square().sum()))


def of_micro_batches(grads: Sequence[Tensor], size: int) -> Noise:
    """Return the noise of single samples, estimated from gradients of micro-batches.

    Args:
        grads: Of each parameter, a tensor of shape (micro-batches, ...) with the mean gradient of
            each of two micro-batches or more, as gradient accumulation computes them.
        size: Samples of a micro-batch.

    Raises:
        ValueError: There are fewer than two, tensors differ in how many, or ``size`` is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    between = of_samples(grads)
    return Noise(variance=size * between.variance, square=between.square)


def of_two_sizes(small: tuple[int, float], large: tuple[int, float]) -> Noise:
    """Return the noise of single samples from squared norms of gradients of two batch sizes.

    Neither is biased; by chance the squared norm of the mean may come out below 0, so average
    both over places of a run before taking their ratio.

    Args:
        small: Samples of a batch, and the mean of the squared norms of such batches' gradients.
        large: The same of larger batches.

    Raises:
        ValueError: The sizes are not above 0, in this order.

    Sources:
        McCandlish et al., arXiv:1812.06162, appendix A.1.

    Example:
        >>> of_two_sizes((1, 5.0), (2, 3.0))
        Noise(variance=4.0, square=1.0)
    """
    (b, one), (many, other) = small, large
    if not 0 < b < many:
        raise ValueError(f"sizes must be above 0, the smaller first, got {b} and {many}")
    variance = (one - other) / (1 / b - 1 / many)
    return Noise(variance=variance, square=(many * other - b * one) / (many - b))


def norm_test(noise: Noise, batch: int, eta: float, most: int | None = None) -> int:
    """Return the batch that the norm test recommends: never a smaller one than now.

    Args:
        noise: Of single samples.
        batch: Samples of a batch now.
        eta: How far a batch's gradient may be from the mean, relative to its norm; the authors take
            0.1 to 0.5.
        most: Largest batch to recommend; None: any. It does not shrink the batch of now.

    Raises:
        ValueError: ``eta`` is not above 0, or ``batch`` is below 1.

    Sources:
        Byrd et al., Mathematical Programming 134, 2012, as Lau et al., arXiv:2402.11215, use it.

    Example:
        >>> norm_test(Noise(variance=8.0, square=1.0), batch=4, eta=0.5)
        32
    """
    return _larger(noise.variance, _above_zero("eta", eta) ** 2 * noise.square, batch, most)


def inner_product_test(
    variance: float, noise: Noise, batch: int, theta: float, most: int | None = None
) -> int:
    """Return the batch with which its gradient is a descent direction, most of the time.

    Args:
        variance: That of ``along``.
        noise: Of single samples.
        batch: Samples of a batch now.
        theta: How far the inner product with the mean may be off, relative to N.
        most: As in ``norm_test``.

    Sources:
        Bollapragada et al., arXiv:1710.11258.
    """
    return _larger(variance, (_above_zero("theta", theta) * noise.square) ** 2, batch, most)


def orthogonality_test(
    variance: float, noise: Noise, batch: int, nu: float, most: int | None = None
) -> int:
    """Return the batch that bounds what of its gradient is orthogonal to the mean.

    Args:
        variance: That of ``across``.
        noise: Of single samples.
        batch: Samples of a batch now.
        nu: How large it may be, relative to the mean's norm.
        most: As in ``norm_test``.
    """
    return _larger(variance, _above_zero("nu", nu) ** 2 * noise.square, batch, most)


def along(grads: Sequence[Tensor]) -> float:
    """Return the unbiased variance of the inner products of samples' gradients with their mean."""
    rows = _rows(grads)
    return float((rows @ rows.mean(dim=0)).var(unbiased=True))


def across(grads: Sequence[Tensor]) -> float:
    """Return the total variance of what of samples' gradients is orthogonal to their mean."""
    rows = _rows(grads)
    mean = rows.mean(dim=0)
    square = mean.square().sum()
    if not square:
        return of_samples(grads).variance
    apart = rows - torch.outer(rows @ mean / square, mean)
    return float(apart.square().sum() / (len(rows) - 1))


def _rows(grads: Sequence[Tensor]) -> Tensor:
    """Return a row for each sample, in double precision."""
    counts = {len(g) if g.ndim else 0 for g in grads}
    if len(counts) != 1 or min(counts) < 2:
        raise ValueError(
            "gradients must be of the same two samples or more for every parameter, got "
            f"{', '.join(map(str, sorted(counts))) or 'none'}"
        )
    return torch.cat([g.detach().double().reshape(len(g), -1) for g in grads], dim=1)


def _larger(variance: float, allowed: float, batch: int, most: int | None) -> int:
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if not allowed:
        return batch if most is None else max(batch, most)  # no batch is large enough
    wanted = math.ceil(max(variance / allowed, batch))
    return wanted if most is None else max(batch, min(wanted, most))


def _above_zero(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{name} must be above 0 and finite, got {value:g}")
    return value
