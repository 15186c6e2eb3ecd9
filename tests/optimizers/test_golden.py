"""Every recorded trajectory of the authors' code, replayed through ``create``."""

from functools import cache
from pathlib import Path

import pytest
import torch

from autotune.testing.backends import BACKENDS, usable
from autotune.testing.trajectories import play, recorded

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))
TOLERANCE = {torch.float64: (1e-11, 1e-13), torch.float32: (1e-4, 1e-6)}


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield request.param


def close(actual, expected, dtype):
    rtol, atol = TOLERANCE[dtype]
    expected = torch.tensor(expected, dtype=dtype).reshape(actual.shape)
    torch.testing.assert_close(actual.to(dtype), expected, rtol=rtol, atol=atol)


def test_every_recording_is_here():
    assert len(GOLDEN) == 42


@cache
def replayed(path, backend, dtype):
    """Return the parameters after each step, and the optimizer after the last."""
    steps = [
        (optimizer, [p.clone() for p in params])
        for optimizer, params in play(recorded(path), dtype=dtype, backend=backend)
    ]
    return [params for _, params in steps], steps[-1][0]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
def test_parameters_follow_the_authors(path, backend, dtype):
    expected = recorded(path).expected[str(dtype).removeprefix("torch.")]
    actual, _ = replayed(path, backend, dtype)
    for params, values in zip(actual, expected, strict=True):
        for p, value in zip(params, values, strict=True):
            close(p, value, dtype)


def test_state_ends_as_the_authors_does(path, backend):
    run, (_, optimizer) = recorded(path), replayed(path, backend, torch.float64)
    kept = [optimizer.state.get(p, {}) for group in optimizer.param_groups for p in group["params"]]
    order = [i for group in run.groups for i in group["params"]]
    for state, i in zip(kept, order, strict=True):
        assert set(state) == set(run.state[i] or {})
        for name, value in state.items():
            close(torch.as_tensor(value), run.state[i][name], torch.float64)


def test_groups_count_the_authors_steps(path):
    _, optimizer = replayed(path, "torch", torch.float64)
    steps = [group.get("step") for group in optimizer.param_groups]
    assert steps == recorded(path).group_steps
