"""Groups of any mixture step alike in both backends, in double precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.optimizers import AdamW

pytest.importorskip("numba")

GROUPS = st.lists(
    st.fixed_dictionaries(
        {
            "sizes": st.lists(st.integers(0, 6), min_size=1, max_size=3),
            "lr": st.sampled_from([0.0, 1e-3, 0.1]),
            "betas": st.sampled_from([(0.9, 0.999), (0.0, 0.0), (0.5, 0.9)]),
            "weight_decay": st.sampled_from([0.0, 0.3]),
            "acceleration": st.sampled_from(["none", "win", "win2"]),
            "reckless_steps": st.sampled_from([(2.0, 8.0), (1.5, 1.5)]),
        }
    ),
    min_size=1,
    max_size=3,
)


def trajectory(groups, missing, clip, backend):
    draw = torch.Generator().manual_seed(0)

    def tensor(size):
        return torch.randn(size, generator=draw, dtype=torch.float64)

    built = [
        {
            **{name: value for name, value in group.items() if name != "sizes"},
            "params": [torch.nn.Parameter(tensor(size)) for size in group["sizes"]],
        }
        for group in groups
    ]
    params = [p for group in built for p in group["params"]]
    optimizer = AdamW(built, max_grad_norm=clip, backend=backend)
    for absent in missing:
        for i, p in enumerate(params):
            gradient = tensor(p.shape)
            p.grad = None if i % 4 == absent else gradient
        optimizer.step()
    return [p.detach() for p in params]


@settings(max_examples=40, deadline=None)
@given(GROUPS, st.lists(st.integers(0, 4), min_size=1, max_size=4), st.sampled_from([0.0, 0.5]))
def test_any_mixture_of_groups(groups, missing, clip):
    expected = trajectory(groups, missing, clip, "torch")
    actual = trajectory(groups, missing, clip, "numba")
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-11, atol=1e-13)
