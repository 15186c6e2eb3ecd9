"""A table of recorded curves: what is written is read, and what is wrong with a file is said."""

import json

import numpy as np
import pytest

from autotune.bench.search.grid import ground, levels
from autotune.bench.search.regret import floors, split
from autotune.bench.search.table import Table, read, write
from autotune.errors import SpecError, UnknownName

AXES = {"lr": (1e-3, 1e-2, 1e-1), "weight_decay": (0.0, 0.1)}
LOSSES = np.arange(4 * 6 * 2, dtype=np.float32).reshape(4, 6, 2)


def table(**changes):
    return Table(**{"name": "t", "axes": AXES, "rungs": (3, 9), "losses": LOSSES, **changes})


def arrays(**changes):
    """Return the arrays of a good file, changed; None leaves one out."""
    configs = [[lr, decay] for lr in AXES["lr"] for decay in AXES["weight_decay"]]
    good = {
        "names": np.array(list(AXES)),
        "configs": np.array(configs),
        "rungs": np.array([3, 9]),
        "losses": LOSSES,
        "grid_json": np.array(json.dumps(AXES)),
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_what_is_written_is_read(tmp_path):
    whole = table(optimizer="adamw", name="whole")
    write(whole, tmp_path / "whole.npz")
    found = read(tmp_path / "whole.npz")
    assert (found.name, found.axes, found.rungs) == ("whole", AXES, (3, 9))
    assert found.optimizer == "adamw"
    np.testing.assert_array_equal(found.losses, LOSSES)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.npz"]


def test_the_order_of_settings_in_a_file_does_not_matter(tmp_path):
    order = np.array([3, 0, 5, 1, 4, 2])
    mixed = arrays(configs=arrays()["configs"][order], losses=LOSSES[:, order])
    np.savez(tmp_path / "mixed.npz", **mixed)
    np.testing.assert_array_equal(read(tmp_path / "mixed.npz").losses, LOSSES)


def test_settings_and_places_are_numbered_alike():
    assert table().setting(3) == {"lr": 1e-2, "weight_decay": 0.1}
    assert table().number((1, 1)) == 3


def test_a_curve_ends_where_it_diverged():
    losses = LOSSES.copy()
    losses[1, 2] = [np.inf, 3.0]
    assert table(losses=losses).curve(1, 2) == [(3, np.inf)]
    assert table(losses=losses).curve(0, 2) == [(3, 4.0), (9, 5.0)]


def test_a_part_holds_nothing_of_the_other_seeds():
    part = table().only([2, 0])
    np.testing.assert_array_equal(part.losses, LOSSES[[2, 0]])
    assert part.losses.base is None


NAN = LOSSES.copy()
NAN[0, 0, 0] = np.nan
BAD = {
    "missing": (
        {"losses": None, "rungs": None},
        "a table must have names, configs, rungs, losses, grid_json, this one lacks rungs, losses",
    ),
    "nan": (
        {"losses": NAN},
        "losses must be numbers, or inf for a diverged run, got 1 that are NaN or -inf",
    ),
    "shape": (
        {"losses": LOSSES[:, :5]},
        "losses must have the shape (seeds, 6, 2) of its settings and rungs, got (4, 5, 2)",
    ),
    "whole numbers": (
        {"losses": LOSSES.astype(int)},
        "losses must be floating-point numbers, got int64",
    ),
    "descending": (
        {"rungs": np.array([9, 3])},
        "rungs must be steps in ascending order from 1, got (9, 3)",
    ),
    "fractions": (
        {"rungs": np.array([0.5, 1.0])},
        "rungs must be a list of whole numbers, got float64 (2,)",
    ),
    "part of the grid": (
        {"configs": arrays()["configs"][:5]},
        "configs must be the whole grid, in the shape (6, 2), got (5, 2)",
    ),
    "off the grid": (
        {"configs": arrays()["configs"] * 1.01},
        "configs must lie on the grid, got lr 0.00101",
    ),
    "twice": (
        {"configs": arrays()["configs"][[0, 0, 2, 3, 4, 5]]},
        "configs must hold each setting of the grid once, got some twice",
    ),
    "no grid": (
        {"grid_json": np.array("[1, 2]")},
        "grid_json must map each name to a list of numbers",
    ),
    "other names": (
        {"names": np.array(["lr", "momentum"])},
        "names and grid_json must name the same parameters, got lr, momentum and lr, weight_decay",
    ),
    "objects": (
        {"names": np.array([{}, {}], dtype=object)},
        "a table must be an .npz file of plain numbers and texts",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), BAD.values(), ids=BAD)
def test_a_bad_file_is_told_in_one_sentence_with_its_name(tmp_path, changes, sentence):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays(**changes))
    with pytest.raises(SpecError) as refused:
        read(path)
    assert str(refused.value) == f"{path}: {sentence}"


@pytest.mark.parametrize("content", [b"", b"lr,loss\n1,2\n", b"PK\x03\x04 broken"])
def test_what_is_no_table_at_all_is_told_too(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(SpecError) as refused:
        read(path)
    assert str(refused.value) == f"{path}: a table must be an .npz file of plain numbers and texts"


def test_a_single_array_is_no_table(tmp_path):
    np.save(tmp_path / "one.npy", LOSSES)
    with pytest.raises(SpecError, match=r"a table must be an \.npz file, this is a single array$"):
        read(tmp_path / "one.npy")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.npz: cannot be read \(No such file"):
        read(tmp_path / "nowhere.npz")


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(SpecError, match=r"t\.npz: cannot be written \(No such file"):
        write(table(), tmp_path / "nowhere" / "t.npz")


def test_one_seed_cannot_be_searched_and_judged_on():
    with pytest.raises(SpecError) as refused:
        split(table(losses=LOSSES[:1]))
    assert str(refused.value) == (
        "t must have at least 2 seeds, one to search and one to judge on, got 1"
    )


def test_the_best_setting_on_one_seed_is_not_the_best():
    ends = np.array(
        [[5, 1, 2, 9, 9, 9], [0, 3, 2, 9, 9, 9], [4, 3, 1, 5, 5, 5], [4, 3, 1, 5, 5, 5]]
    )
    losses = np.stack([np.ones_like(ends), ends], axis=-1).astype(np.float32)
    seen, judged = split(table(losses=losses))
    assert floors(seen, judged) == pytest.approx([2 / 3.5, 3 / 3.5])


def test_settings_that_end_alike_cannot_be_told_apart():
    with pytest.raises(SpecError) as refused:
        split(table(losses=np.ones_like(LOSSES)))
    assert str(refused.value) == (
        "t must have settings that differ: half of them end at the same loss of 1 as the best"
    )


def test_a_table_where_everything_diverges_judges_nobody():
    with pytest.raises(SpecError, match=r"^t must have a setting that does not diverge, got none$"):
        split(table(losses=np.full_like(LOSSES, np.inf)))


def test_values_of_an_axis_have_equal_shares_and_draw_the_nearest():
    axis = levels((1e-3, 1e-2, 1.0))
    assert axis.log
    assert [axis.at(unit) for unit in (0.0, 0.34, 0.66, 1.0)] == [1e-3, 1e-2, 1e-2, 1.0]
    assert [axis.nearest(value) for value in (0.0, 5e-3, 0.09, 0.11, 9.0)] == [
        1e-3, 1e-2, 1e-2, 1.0, 1.0
    ]  # fmt: skip
    assert [axis.unit(value) for value in axis.values] == pytest.approx([1 / 6, 1 / 2, 5 / 6])


@pytest.mark.parametrize(
    ("values", "log"), [((1.0, 2.0, 3.0), False), ((1.0, 2.0, 8.0), True), ((0.0, 1.0), False)]
)
def test_an_axis_is_logarithmic_where_its_steps_are_even_that_way(values, log):
    assert levels(values).log is log


def test_presets_and_proposals_are_moved_to_the_grid():
    made = ground(table())
    assert made.optimizer == "adamw"
    presets = [preset.setting.hyper for preset in made.presets]
    assert {made.table.setting(made.number(hyper))["lr"] for hyper in presets} == {1e-3, 1e-2}
    assert [made.table.number(places) for places in made.known] == list(
        dict.fromkeys(made.number(hyper) for hyper in presets)
    )
    assert presets[0]["weight_decay"] == 0.0
    setting = made.space.setting({"lr": 0.05, "weight_decay": 0.06})
    assert (setting.hyper["lr"], setting.hyper["weight_decay"]) == (1e-1, 0.1)


@pytest.mark.parametrize(
    ("axes", "optimizer"),
    [
        (("lr", "one_minus_beta3", "reckless"), "adan-win"),
        (("lr", "one_minus_beta3"), "adan"),
        (("lr", "one_minus_beta2", "reckless"), "adamw-win"),
        (("lr", "one_minus_momentum"), "sgd"),
    ],
)
def test_the_parameters_say_which_optimizer_was_run(axes, optimizer):
    losses = np.arange(2 * 2 ** len(axes), dtype=float).reshape(2, -1, 1)
    made = table(axes=dict.fromkeys(axes, (0.1, 0.2)), rungs=(9,), losses=losses)
    assert ground(made).optimizer == optimizer


def test_an_unknown_parameter_or_optimizer_is_told():
    losses = np.arange(8, dtype=float).reshape(2, 2, 2)
    with pytest.raises(SpecError, match=r"^t: unknown parameter of adamw 'speed' \(known: .*lr"):
        ground(table(axes={"speed": (1.0, 2.0)}, losses=losses))
    with pytest.raises(UnknownName, match=r"^t: unknown optimizer 'adna'; did you mean 'adan'"):
        ground(table(optimizer="adna"))
