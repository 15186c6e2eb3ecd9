import math

import pytest
import torch

from autotune.training.batch_size import (
    Noise,
    across,
    along,
    inner_product_test,
    norm_test,
    of_micro_batches,
    of_samples,
    orthogonality_test,
)


def drawn(samples, spread, seed=0):
    """Gradients of two parameters around a mean of ones."""
    draw = torch.Generator().manual_seed(seed)
    return [
        1.0 + spread * torch.randn(samples, *shape, generator=draw, dtype=torch.float64)
        for shape in ((3, 2), (4,))
    ]


def test_noise_is_the_sum_of_variances_beside_the_mean_squared():
    noise = of_samples([torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([1.0, 1.0])])
    assert noise == Noise(variance=2.0, square=5.0)
    assert noise.scale == 0.4


def test_micro_batches_estimate_the_noise_of_samples():
    samples = drawn(64 * 400, 2.0)
    means = [g.reshape(400, 64, *g.shape[1:]).mean(dim=1) for g in samples]
    one, other = of_samples(samples), of_micro_batches(means, 64)
    assert other.variance == pytest.approx(one.variance, rel=0.1)
    assert other.square == pytest.approx(one.square)


def test_the_recommended_batch_passes_the_test_and_one_less_does_not():
    noise = of_samples(drawn(50, 3.0))
    batch = norm_test(noise, 2, 0.5)
    assert noise.variance / batch <= 0.25 * noise.square < noise.variance / (batch - 1)


def test_a_batch_never_shrinks_and_has_a_largest():
    quiet, loud = Noise(variance=1e-3, square=1.0), Noise(variance=1e3, square=1.0)
    assert norm_test(quiet, 32, 0.1) == 32
    assert norm_test(loud, 32, 0.1, most=512) == 512
    assert norm_test(loud, 1024, 0.1, most=512) == 1024


def test_where_the_mean_is_zero_no_batch_is_large_enough():
    noise = of_samples([torch.tensor([[1.0], [-1.0]])])
    assert noise.scale == math.inf
    assert norm_test(noise, 8, 0.5) == 8
    assert norm_test(noise, 8, 0.5, most=64) == 64


def test_both_parts_of_the_variance_add_up():
    grads = drawn(20, 1.5)
    noise = of_samples(grads)
    assert along(grads) / noise.square + across(grads) == pytest.approx(noise.variance, rel=1e-12)


def test_the_other_tests_bound_their_own_part():
    grads, batch = drawn(20, 5.0), 2
    noise = of_samples(grads)
    by_product = inner_product_test(along(grads), noise, batch, 0.3)
    by_rest = orthogonality_test(across(grads), noise, batch, 0.3)
    assert by_product == math.ceil(along(grads) / (0.3 * noise.square) ** 2)
    assert by_rest == math.ceil(across(grads) / (0.09 * noise.square))
    assert by_product < by_rest


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: of_samples([torch.ones(1, 3)]),
            "gradients must be of the same two samples or more for every parameter, got 1",
        ),
        (
            lambda: of_samples([torch.ones(3, 2), torch.ones(4)]),
            "gradients must be of the same two samples or more for every parameter, got 3, 4",
        ),
        (lambda: of_micro_batches([torch.ones(2, 3)], 0), "size must be at least 1, got 0"),
        (
            lambda: norm_test(Noise(variance=1.0, square=1.0), 4, 0.0),
            "eta must be above 0 and finite, got 0",
        ),
        (
            lambda: norm_test(Noise(variance=1.0, square=1.0), 0, 0.5),
            "batch must be at least 1, got 0",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        call()
