"""The tables in ``benchmarks/tables`` are what was recorded, and can be recorded again."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from autotune.bench.search.grid import ground
from autotune.bench.search.record import plan
from autotune.bench.search.table import read
from autotune.tasks.resolve import resolve
from autotune.training.side_by_side import loss_curves

TABLES = Path(__file__).parents[2] / "benchmarks" / "tables"
HASHES = {
    "conv_adan": "5be975856490dfab9b0683c171dd3cfd9b655a2d6798436f5cf198ce0a592cb3",
    "denoise_adamw": "6935aa9aa9dc6026cfc020d81e0c48e55164c5609414c94dc73d76d62cea2708",
    "digits_adan_win": "10e2bae6123b2f1c1efde6434cffbf88b8764efe0f5de50ccb75a0418cb1fc80",
    "field_adamw_win2": "baa83d686021379edd0ae35d77c5af8cbf6606b31ebec5581038fb5480edfbbf",
    "forecast_adan_win2": "4b5ccc8cbef55f0970a65e31f449a4e611cff4de9833f9967d6480feb868e8c2",
    "forces_adamw_win2": "bee5bfd1dc9ba676badf7f742d67855038b35a0df7c208cb75355707eab11037",
    "graph_adan": "d3d013aa06a0b54a26145bf9723d64824ae3bed22e9b5167818f9a8d33708480",
    "language_adan_win": "7da1e2fc1237307c5b7223fd44d68dea6b5c5c4c606ea9a7433b7ed75aba55cb",
    "letters_adan": "a181e04a85609a4f39630340fcb1245e4e4b5ab6b3b6ec0915382ff61d1c0472",
    "mlp_adamw_win2": "ecb81d0a3be287c0f8ea8606ff5f674f126e30509d0ee13fc54adc5b0c4d9934",
    "patches_adamw_win": "5cbcf4667830c929105e837a1f6c163fa5c0693c76c0ff90c67d07072046f72b",
    "prices_adan_win": "ac4a40b7ffa978b05b14f112de3f0b87c49788632b9a5b3cee8dd312f5d31659",
    "ratings_adamw_win": "9c9b8cc2452b3f79552bfb67a5391a9774e763a6c5315f7f090b10c60ad38284",
    "recall_adan": "a6367a83a30702eb09a11c63f8ecf4ebbccc71a229fb89deabd3e2b9c5207d70",
    "tongue_adan_win": "6cbdebb8e8a25266d48b20e1826af1e49d45c0148693f9d17899dc3bea469d9d",
    "views_adan": "a62e5dd455115e3e8675a681144d6da0db60331b6e5533cfe2b3005df9dd56b7",
}
RECORDED = {name: name.partition("_")[2].replace("_", "-") for name in HASHES}
AGAIN = {
    "conv_adan": [(2, 1, 1, 0), (3, 0, 2, 1)],
    "denoise_adamw": [(2, 1, 1, 0), (5, 0, 2, 1)],
    "field_adamw_win2": [(2, 1, 0, 1, 1), (5, 2, 1, 0, 0)],
    "forecast_adan_win2": [(2, 1, 0, 1, 1), (4, 0, 2, 1, 0)],
    "forces_adamw_win2": [(2, 1, 0, 1, 1), (5, 0, 1, 2, 0)],
    "graph_adan": [(2, 1, 1, 0), (5, 0, 2, 1)],
    "letters_adan": [(2, 1, 1, 0), (5, 0, 2, 1)],
    "mlp_adamw_win2": [(2, 1, 0, 1, 1), (5, 2, 1, 0, 2)],
    "patches_adamw_win": [(2, 1, 0, 1, 1), (5, 2, 1, 0, 0)],
    "prices_adan_win": [(2, 1, 0, 1, 1), (4, 0, 1, 0, 2)],
    "ratings_adamw_win": [(2, 1, 0, 1, 1), (5, 2, 1, 0, 0)],
    "recall_adan": [(4, 1, 1, 0), (5, 0, 2, 1)],
    "tongue_adan_win": [(2, 1, 0, 1, 1), (4, 0, 1, 0, 2)],
    "views_adan": [(2, 1, 1, 0), (5, 0, 2, 1)],
}


def path(name):
    return TABLES / f"{name}.npz"


def recorded(name):
    """Return a table's facts, and the plan that makes it again."""
    with np.load(path(name)) as file:
        facts = json.loads(str(file["facts_json"]))
    task = resolve(**facts["asked"])
    seeds = len(facts["seeds"])
    return facts, plan(task, facts["asked"], facts["optimizer"], facts["axes"], seeds)


def check_again(name, what, places, rtol):
    """Train settings again on two seeds, to the second rung, and compare with what is recorded."""
    table, rungs = read(path(name)), what.rungs[:2]
    numbers = [table.number(place) for place in places]
    for seed in (0, 5):
        members = [what.member(seed, number) for number in numbers]
        found = loss_curves(what.task, what.optimizer, members, rungs)
        np.testing.assert_allclose(found, table.losses[seed, numbers, :2], rtol=rtol)


@pytest.mark.parametrize("name", HASHES)
def test_a_table_is_the_one_that_was_recorded(name):
    assert hashlib.sha256(path(name).read_bytes()).hexdigest() == HASHES[name]


@pytest.mark.parametrize("name", HASHES)
def test_a_table_can_be_played_on_and_is_small(name):
    assert ground(read(path(name))).optimizer == RECORDED[name]
    assert path(name).stat().st_size < 1_000_000


def test_the_language_table_has_its_best_setting_inside_the_grid():
    table = read(path("language_adan_win"))
    final = table.losses[:, :, -1].mean(axis=0).reshape(table.shape)
    places = dict(zip(table.axes, np.unravel_index(final.argmin(), table.shape), strict=True))
    inside = {name: 0 < places[name] < len(table.axes[name]) - 1 for name in table.axes}
    assert inside == {**dict.fromkeys(inside, True), "reckless": False}


def test_some_settings_of_the_language_table_are_worse_than_no_training():
    final = read(path("language_adan_win")).losses[:, :, -1]
    untrained = np.log(256)
    assert 0.02 < (final > untrained).mean() < 0.3


def test_a_part_of_the_language_table_is_recorded_again():
    facts, what = recorded("language_adan_win")
    task = dict(what.task.facts())
    if task["data_hash"] != facts["task"]["data_hash"]:
        pytest.skip("another Python's standard library: its losses cannot be compared")
    assert facts["task"].items() <= task.items()
    assert [what.member(seed, 0).seed for seed in range(what.seeds)] == facts["seeds"]
    places = [(lr, decay, 1, 1, 0) for lr in (0, 2, 4) for decay in (1, 2)]
    check_again("language_adan_win", what, places, rtol=1e-3)


@pytest.mark.parametrize("name", AGAIN)
def test_a_part_of_the_other_tables_is_recorded_again(name, monkeypatch):
    monkeypatch.chdir(TABLES)  # where some of their tasks are
    facts, what = recorded(name)
    assert facts["task"].items() <= dict(what.task.facts()).items()
    check_again(name, what, AGAIN[name], rtol=1e-2)
