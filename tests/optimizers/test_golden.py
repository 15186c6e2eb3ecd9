"""Every recorded trajectory of other people's code, replayed through ``create``."""

import json
import os
from functools import cache
from pathlib import Path

import pytest
import torch

from autotune.testing import golden
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.recordings import recorded
from autotune.testing.trajectories import play

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = sorted(FOLDER.glob("*.json"))  # of Adan and of Win, by their authors
OTHERS = sorted((FOLDER / "others").glob("*.json"))
# Interpreted kernels are slow: one recording of each optimizer, unless every test is asked for.
FIRST = {json.loads(path.read_text()).get("optimizer"): path for path in reversed(OTHERS)}
INTERPRETED = OTHERS if os.environ.get("AUTOTUNE_TEST_EVERY") == "1" else [*FIRST.values()]
PLAYED = [(path, "torch", torch.float64) for path in OTHERS]
PLAYED += [(path, "numba", torch.float32) for path in OTHERS]
PLAYED += [(path, "triton", torch.float32) for path in INTERPRETED]


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield request.param


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_parameters_follow_the_authors(path, backend, dtype):
    actual, _ = replayed(path, backend, dtype)
    assert list(golden.differences(recorded(path), actual, dtype)) == []


@pytest.mark.parametrize(
    ("other", "backend", "dtype"),
    PLAYED,
    indirect=["backend"],
    ids=[f"{path.stem}-{backend}" for path, backend, _ in PLAYED],
)
def test_other_recordings_are_followed(other, backend, dtype):
    assert golden.failure(other, backend=backend, dtype=dtype) is None


def test_state_ends_as_the_authors_does(path, backend):
    run, (_, optimizer) = recorded(path), replayed(path, backend, torch.float64)
    kept = [optimizer.state.get(p, {}) for group in optimizer.param_groups for p in group["params"]]
    order = [i for group in run.groups for i in group["params"]]
    for state, i in zip(kept, order, strict=True):
        assert set(state) == set(run.state[i] or {})
        for name, value in state.items():
            expected = torch.tensor(run.state[i][name], dtype=torch.float64)
            actual = torch.as_tensor(value).double()
            rtol, atol = run.tolerance["float64"]
            torch.testing.assert_close(actual, expected.reshape(actual.shape), rtol=rtol, atol=atol)


def test_groups_count_the_authors_steps(path):
    _, optimizer = replayed(path, "torch", torch.float64)
    steps = [group.get("step") for group in optimizer.param_groups]
    assert steps == recorded(path).group_steps


def replay(capsys, *arguments):
    """Return the tool's exit status, and the lines it prints."""
    status = golden.main([*map(str, arguments)])
    told = capsys.readouterr()
    return status, (told.out + told.err).splitlines()


@pytest.fixture
def folder(tmp_path):
    """A folder with a recording of each kind of schema."""
    for path in (FOLDER / "adamw_win_wd0.json", FOLDER / "others" / "adamw_default.json"):
        (tmp_path / path.name).write_text(path.read_text())
    return tmp_path


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_the_tool_counts_what_passes(folder, capsys):
    assert replay(capsys, folder) == (0, ["2/2"])
    assert replay(capsys, folder, "--backend", "numba", "--dtype", "float32") == (0, ["2/2"])


def test_the_tool_tells_where_a_recording_is_left(folder, capsys):
    def moved(data):
        data["steps"][3]["params"][1][2] += 1e-9

    edit(folder / "adamw_default.json", moved)
    status, [line, total] = replay(capsys, folder)
    assert (status, total) == (1, "1/2")
    assert line.startswith("adamw_default.json: after step 4 parameter 1 has ")
    assert replay(capsys, folder, "--dtype", "float32") == (0, ["2/2"])


def test_an_optimizer_that_nobody_translated_is_a_failure(folder, capsys):
    edit(folder / "adamw_default.json", lambda data: data.update(optimizer="shampoo"))
    assert replay(capsys, folder) == (
        1,
        [
            "adamw_default.json: ValueError: no module autotune.testing.upstream.shampoo "
            "translates it",
            "1/2",
        ],
    )


def test_a_recording_of_another_kind_is_a_failure(folder, capsys):
    edit(folder / "adamw_default.json", lambda data: data.update(kind="seance"))
    _, [line, _] = replay(capsys, folder)
    assert line == (
        "adamw_default.json: it is of kind 'seance', "
        "which no module autotune.testing.upstream.seance reads"
    )


def test_a_file_that_is_no_recording_is_a_failure(folder, capsys):
    (folder / "adamw_default.json").write_text("{")
    status, [line, total] = replay(capsys, folder)
    assert (status, total) == (1, "1/2")
    assert line.startswith("adamw_default.json: JSONDecodeError: ")


def test_a_number_that_is_lost_is_a_failure(folder, capsys):
    def spoilt(data):
        data["steps"][0]["grads"][0][0] = float("nan")

    edit(folder / "adamw_default.json", spoilt)
    assert replay(capsys, folder)[1][0].startswith(
        "adamw_default.json: after step 1 parameter 0 has nan at 0"
    )


def test_a_group_has_its_own_rate_and_words_and_may_be_maximized(folder, capsys):
    def grouped(data):
        own = {"params": [1], "lr_scale": 0.5, "weight_decay": 0.3, "maximize": True}
        data["groups"] = [{"params": [0]}, own]

    edit(folder / "adamw_default.json", grouped)
    run = recorded(folder / "adamw_default.json")
    assert [set(group) for group in run.groups] == [{"params"}, {"params", "weight_decay"}]
    assert run.lr[0] == [1e-3, 5e-4]
    before = recorded(FOLDER / "others" / "adamw_default.json")
    assert run.grads[0][0] == before.grads[0][0]
    assert run.grads[0][1] == [-g for g in before.grads[0][1]]
    assert replay(capsys, folder)[1][0].startswith("adamw_default.json: after step 1 parameter 1")


def test_a_folder_without_recordings_is_refused(tmp_path, capsys):
    assert replay(capsys, tmp_path) == (
        2,
        [f"{tmp_path} must be a folder with recordings (*.json), has none"],
    )
