"""Groups of any mixture step alike on every backend, in double precision."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.optimizers import AdamW
from autotune.testing.backends import usable

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


MISSING = st.lists(st.integers(0, 4), min_size=1, max_size=4)
CLIP = st.sampled_from([0.0, 0.5])


def agree(groups, missing, clip, backend):
    expected = trajectory(groups, missing, clip, "torch")
    with usable(backend):
        actual = trajectory(groups, missing, clip, backend)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-11, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(GROUPS, MISSING, CLIP)
def test_any_mixture_of_groups_by_numba(groups, missing, clip):
    agree(groups, missing, clip, "numba")


@settings(max_examples=20, deadline=None)
@given(GROUPS, MISSING, CLIP)
def test_any_mixture_of_groups_by_triton(groups, missing, clip):
    agree(groups, missing, clip, "triton")
