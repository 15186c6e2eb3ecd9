"""The tests of AdAdaGrad's authors, by which a batch grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from autotune.testing.upstream.numbers import apart
from autotune.training.batch_size import (
    across,
    along,
    inner_product_test,
    norm_test,
    of_samples,
    orthogonality_test,
)


def differences(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each number that our code does not arrive at.

    Their inner products and orthogonal parts are of one tensor after another, whose variances are
    added; the paper's, and ours of several tensors, are of the whole gradient.
    """
    batch = data["batch_size"]
    grads = [
        torch.tensor(values, dtype=torch.float64).reshape(batch, *shape)
        for values, shape in zip(data["per_sample_grads"], data["shapes"], strict=True)
    ]
    noise = of_samples(grads)
    by_product = sum(along([g]) for g in grads)
    by_rest = sum(across([g]) for g in grads)
    wanted = {
        "norm_test": norm_test(noise, batch, data["eta"]),
        "inner_product_test": inner_product_test(by_product, noise, batch, data["theta"]),
        "orthogonality_test": orthogonality_test(by_rest, noise, batch, data["nu"]),
    }
    both = wanted["inner_product_test"], wanted["orthogonality_test"]
    wanted["augmented_inner_product_test"] = max(both)
    measured = {
        ("norm_test", "variance_l1"): noise.variance,
        ("inner_product_test", "variance_sum_over_tensors"): by_product,
        ("orthogonality_test", "variance_sum_over_tensors"): by_rest,
        **{(test, "grad_norm_sq"): noise.square for test in ("norm_test", "inner_product_test")},
        **{(test, "new_batch_size"): float(size) for test, size in wanted.items()},
    }
    for (test, name), ours in measured.items():
        yield from apart(f"{test}: {name}", [ours], [data[test][name]])
