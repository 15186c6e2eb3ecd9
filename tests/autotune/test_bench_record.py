"""A recorded table holds what single runs measure, whatever interrupted its making."""

import json

import numpy as np
import pytest

from autotune.bench.search import record as recording
from autotune.bench.search.grid import ground
from autotune.bench.search.record import Recording, plan, progress, record
from autotune.bench.search.table import read
from autotune.cli import main
from autotune.errors import SpecError
from autotune.tasks.resolve import resolve
from autotune.training.side_by_side import loss_curves

GRID = {"lr": [1e-3, 1e-1], "weight_decay": [0.4, 0.02, 8.0], "one_minus_beta1": [0.1]}
ASKED = {"model": "mlp", "steps": 9, "batch_size": 8}


def planned(grid=GRID, **changes):
    asked = {**ASKED, **changes}
    return plan(resolve(**asked), asked, "adan-win", grid, 2)


def test_a_table_holds_what_runs_alone_measure(tmp_path):
    assert record(planned(), tmp_path / "t.npz")
    table = read(tmp_path / "t.npz")
    assert (table.rungs, table.optimizer) == ((1, 3, 9), "adan-win")
    assert table.setting(3) == {"lr": 0.1, "weight_decay": 0.02, "one_minus_beta1": 0.1}
    member = planned().member(1, 3)
    assert member.setting.hyper["betas"] == (0.9, 0.92, 0.99)
    [expected] = loss_curves(resolve(**ASKED), "adan-win", [member], table.rungs)
    np.testing.assert_allclose(table.losses[1, 3], expected, rtol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["t.npz"]


def test_a_table_tells_how_it_was_made(tmp_path):
    record(planned(), tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as file:
        facts = json.loads(str(file["facts_json"]))
    assert facts["asked"] == ASKED
    assert facts["task"]["data_hash"] == resolve("mlp").facts()["data_hash"]
    assert len(facts["seeds"]) == 2


def interrupted(path, after):
    def ticked(over, total):
        if over >= after:
            raise KeyboardInterrupt

    return record(planned(), path, ticked)


def test_an_interrupted_recording_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "_left", small_parts(recording._left))
    record(planned(), tmp_path / "whole.npz")
    assert not interrupted(tmp_path / "parts.npz", 4)
    assert progress(planned(), tmp_path / "parts.npz") == 4
    assert not (tmp_path / "parts.npz").exists()
    seen = []
    assert record(planned(), tmp_path / "parts.npz", lambda *ticked: seen.append(ticked))
    assert seen == [(2, 8), (4, 8), (6, 8), (8, 8)]
    whole, parts = read(tmp_path / "whole.npz"), read(tmp_path / "parts.npz")
    np.testing.assert_array_equal(whole.losses, parts.losses)


def small_parts(left):
    """Return the runs of a plan two by two."""

    def halves(what, losses):
        for seed, numbers in left(what, losses):
            for start in range(0, len(numbers), 2):
                yield seed, numbers[start : start + 2]

    return halves


def test_what_was_begun_with_another_grid_is_refused(tmp_path):
    interrupted(tmp_path / "t.npz", 1)
    with pytest.raises(SpecError) as refused:
        record(planned({"lr": [0.1]}), tmp_path / "t.npz")
    assert str(refused.value) == (
        f"{tmp_path / 't.npz.part'} was begun for another model, grid or number of seeds; "
        "remove it, or give what it was begun with"
    )


def test_a_broken_file_of_an_earlier_call_is_refused(tmp_path):
    (tmp_path / "t.npz.part").write_text("not a table")
    with pytest.raises(SpecError) as refused:
        record(planned(), tmp_path / "t.npz")
    assert str(refused.value) == (
        f"{tmp_path / 't.npz.part'}: a table must be an .npz file of plain numbers and texts"
    )


def test_a_task_of_the_user_s_is_recorded_run_by_run(tmp_path, task_file):
    asked = {"model": f"{task_file}:problem", "steps": 9}
    what = plan(resolve(**asked), asked, "adamw", {"lr": [1e-2, 1e-1]}, 2)
    assert record(what, tmp_path / "t.npz")
    losses = read(tmp_path / "t.npz").losses
    assert losses.shape == (2, 2, 3)
    assert (losses[:, 1, -1] < losses[:, 0, -1]).all()


def test_the_default_grid_is_one_the_search_can_be_played_on():
    what = planned(recording.DEFAULT)
    assert (what.settings, what.runs) == (648, 1296)
    table = what.table(np.zeros_like(what.nothing()))
    assert table.setting(ground(table).default)["lr"] == pytest.approx(10**-2.5)


def test_a_parameter_nobody_knows_is_refused():
    with pytest.raises(
        SpecError,
        match=r"^the grid: unknown parameter of adan-win 'lrr'; did you mean 'lr'\? \(known: .*\)$",
    ):
        planned({"lrr": [0.1]})


def test_one_seed_is_refused():
    with pytest.raises(
        SpecError,
        match=r"^a table must have at least 2 seeds, one to search on and one to judge on, got 1$",
    ):
        Recording(task=resolve("mlp"), asked={}, optimizer="adan", axes={"lr": (0.1,)}, seeds=1)


COMMAND = ["bench", "record", "--model", "mlp", "--steps", "9", "--seeds", "2", "--batch-size", "8"]


def invoke(tmp_path, *more, grid="lr: [0.001, 0.1]"):
    from click.testing import CliRunner

    (tmp_path / "grid.yaml").write_text(grid)
    given = ["--grid", str(tmp_path / "grid.yaml"), "--out", str(tmp_path / "t.npz"), *more]
    return CliRunner().invoke(main, [*COMMAND, *given])


def test_the_command_records(tmp_path):
    result = invoke(tmp_path)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 't.npz'}: 4 runs, rungs at 1, 3, 9 steps\n"
    assert result.stderr == "2 settings, 2 seeds: 4 runs\n"
    assert read(tmp_path / "t.npz").axes == {"lr": (0.001, 0.1)}


def test_ctrl_c_keeps_what_was_trained(tmp_path, monkeypatch):
    def stopping(*given):
        raise KeyboardInterrupt  # a test that runs in the background may not get the signal

    monkeypatch.setattr(recording, "loss_curves", stopping)
    result = invoke(tmp_path)
    assert result.exit_code == 130
    assert result.stderr.endswith("interrupted after 0 runs; the same command goes on\n")
    assert (tmp_path / "t.npz.part").exists()


def refusal(result):
    assert result.exit_code == 2
    return result.stderr.removeprefix("error: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ("lr: [0.1, yes]", "a grid must map each parameter to a list of numbers"),
        ("- lr", "a grid must map each parameter to a list of numbers"),
        ("lr: [0.1", "a grid must be YAML or JSON"),
    ],
)
def test_a_grid_that_is_none_is_refused(tmp_path, grid, sentence):
    result = invoke(tmp_path, grid=grid)
    assert refusal(result) == f"{tmp_path / 'grid.yaml'}: {sentence}"


def test_a_grid_that_is_not_there_is_refused(tmp_path):
    result = invoke(tmp_path, "--grid", str(tmp_path / "none.yaml"))
    assert refusal(result) == (
        f"{tmp_path / 'none.yaml'}: cannot be read (No such file or directory)"
    )


def test_a_table_has_to_be_named_as_one(tmp_path):
    result = invoke(tmp_path, "--out", str(tmp_path / "t.csv"))
    assert refusal(result) == f"a table's name must end in .npz, got {tmp_path / 't.csv'}"
