"""What a search or a benchmark of searches cannot start with: one sentence, and the exit code."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from autotune.cli import main

LR = [1e-3, 1e-2, 1e-1]
LOSSES = np.arange(4 * 3 * 2, dtype=np.float32).reshape(4, 3, 2)
POINT = [f"--set=space.one_minus_beta{i}=0.1" for i in (1, 2, 3)]
POINT += ["--set=space.lr=0.01", "--set=space.weight_decay=0", "--set=space.warmup=0.1"]


def invoke(*args):
    result = CliRunner().invoke(main, list(args))
    return result.exit_code, result.stderr


def nan():
    losses = LOSSES.copy()
    losses[1, 2, 0] = np.nan
    return losses


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"losses": None, "grid_json": None},
            "t.npz: a table must have names, configs, rungs, losses, grid_json, this one lacks "
            "losses, grid_json",
        ),
        (
            {"losses": nan()},
            "t.npz: losses must be numbers, or inf for a diverged run, got 1 that are NaN or -inf",
        ),
        (
            {"losses": LOSSES[:, :2]},
            "t.npz: losses must have the shape (seeds, 3, 2) of its settings and rungs, "
            "got (4, 2, 2)",
        ),
        (
            {"configs": np.array([LR])},
            "t.npz: configs must be the whole grid, in the shape (3, 1), got (1, 3)",
        ),
        (
            {"losses": LOSSES[:1]},
            "t must have at least 2 seeds, one to search and one to judge on, got 1",
        ),
        (
            {"losses": np.full_like(LOSSES, np.inf)},
            "t must have a setting that does not diverge, got none",
        ),
        (
            {"names": np.array([{"lr": 1}], dtype=object)},
            "t.npz: a table must be an .npz file of plain numbers and texts",
        ),
    ],
    ids=["missing", "NaN", "losses", "configs", "one seed", "all diverged", "objects"],
)
def test_a_table_that_is_none_is_refused(tmp_path, monkeypatch, changes, sentence):
    monkeypatch.chdir(tmp_path)
    good = {
        "names": np.array(["lr"]),
        "configs": np.array(LR)[:, None],
        "rungs": np.array([3, 9]),
        "losses": LOSSES,
        "grid_json": np.array(json.dumps({"lr": LR})),
    }
    np.savez("t.npz", **{name: a for name, a in {**good, **changes}.items() if a is not None})
    assert invoke("bench", "search", "--table", "t.npz", "--quiet") == (2, f"error: {sentence}\n")


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (
            ["--sampler", "optuna:CmaEsSampler"],
            3,
            "optuna:CmaEsSampler needs cmaes, which is not installed; get it with: "
            "pip install cmaes",
        ),
        (
            ["--runs", "0.5"],
            2,
            "budget.runs must be at least 12 to choose among 2 finalists and judge on 3 seeds, "
            "got 0.5; raise it or lower seeds and finalists",
        ),
        (
            POINT,
            2,
            "the space of adan holds a single setting, so there is nothing to search; "
            "leave a parameter free",
        ),
        (
            ["--set", "space.lr.high=1e-6"],
            2,
            "space.lr: low must be below high, got low 0.0001 and high 1e-06, of which low is the "
            "optimizer's own; give both",
        ),
        (
            ["--set", "space.lr.low=0.1", "--set", "space.lr.high=0.01"],
            2,
            "--set space.lr.high: space.lr: low must be below high, got low 0.1 and high 0.01",
        ),
        (
            ["--set", "space.lr=[]"],
            2,
            "--set space.lr: space.lr must have at least one choice, got []",
        ),
    ],
    ids=["package", "budget", "one point", "own low", "low above high", "no choice"],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["for real", "dry run"])
def test_a_search_that_cannot_be_is_refused_and_leaves_nothing(
    task_file, tmp_path, monkeypatch, args, code, sentence, dry
):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    model = ["--model", f"{task_file}:problem", "--optimizer", "adan", "--engine", "inline"]
    assert invoke("search", *model, *args, *dry) == (code, f"error: {sentence}\n")
    assert {path for path in tmp_path.iterdir() if path.name != "__pycache__"} == before


def test_one_optimizer_may_be_held_fixed_beside_one_that_is_searched(task_file, tmp_path):
    fixed = [arg.replace("space.", "space.adan.") for arg in POINT]
    model = ["--model", f"{task_file}:problem", "--optimizer", "adan", "--optimizer", "adamw"]
    code, _ = invoke("search", *model, *fixed, "--dry-run", "--storage", f"{tmp_path}/a.db")
    assert code == 0


def test_minutes_that_pay_no_full_run_end_with_a_sentence(task_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ["--model", f"{task_file}:problem", "--optimizer", "adan", "--engine", "inline"]
    code, said = invoke("search", *model, "--minutes", "1e-5", "--progress", "off")
    assert (code, said.splitlines()[-1]) == (
        5,
        "error: no trial of 'problem' reached its end with a loss; the budget ended first, "
        "raise it; look at each with: autotune show problem --trials",
    )
