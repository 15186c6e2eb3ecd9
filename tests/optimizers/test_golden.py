"""Every recorded trajectory of the authors' code, replayed through ``create``."""

from pathlib import Path

import pytest
import torch

from autotune.testing.trajectories import play, recorded

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))
TOLERANCE = {torch.float64: (1e-11, 1e-13), torch.float32: (1e-4, 1e-6)}


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def run(request):
    return recorded(request.param)


def close(actual, expected, dtype):
    rtol, atol = TOLERANCE[dtype]
    expected = torch.tensor(expected, dtype=dtype).reshape(actual.shape)
    torch.testing.assert_close(actual.to(dtype), expected, rtol=rtol, atol=atol)


def test_every_recording_is_here():
    assert len(GOLDEN) == 42


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_parameters_follow_the_authors(run, backend, dtype):
    expected = run.expected[str(dtype).removeprefix("torch.")]
    for k, (_, params) in enumerate(play(run, dtype=dtype, backend=backend)):
        for p, values in zip(params, expected[k], strict=True):
            close(p, values, dtype)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_state_ends_as_the_authors_does(run, backend):
    optimizer, _ = list(play(run, dtype=torch.float64, backend=backend))[-1]
    kept = [optimizer.state.get(p, {}) for group in optimizer.param_groups for p in group["params"]]
    order = [i for group in run.groups for i in group["params"]]
    for state, i in zip(kept, order, strict=True):
        assert set(state) == set(run.state[i] or {})
        for name, value in state.items():
            close(torch.as_tensor(value), run.state[i][name], torch.float64)


def test_groups_count_the_authors_steps(run):
    optimizer, _ = list(play(run, dtype=torch.float64, backend="torch"))[-1]
    assert [group.get("step") for group in optimizer.param_groups] == run.group_steps
