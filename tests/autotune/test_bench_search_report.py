"""What is said of a benchmark of searches: the arithmetic, the words, the picture, the command."""

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from autotune.bench.search import compare
from autotune.bench.search.compare import Verdict
from autotune.bench.search.plot import picture
from autotune.bench.search.repeat import Protocol, Record
from autotune.bench.search.report import Report, conclusions, floor
from autotune.bench.search.table import Table, write
from autotune.cli import main
from autotune.cli.views.progress_line import EVERY

REPS = 12
BASE = np.exp(np.random.default_rng(0).standard_normal((REPS, 3))) / 10
# Apart by less than shows: of ties SciPy tries every permutation, which takes it a second.
APART = 1 + 1e-9 * np.arange(REPS)[:, None]


def record(name="one", **regrets):
    costs = {method: np.full(len(rows), 10.0) for method, rows in regrets.items()}
    return Record(
        table=name,
        optimizer="adamw",
        settings=6,
        seen=2,
        held=2,
        floors=(0.012, 0.03),
        regrets={method: np.array(rows, dtype=float) for method, rows in regrets.items()},
        spent=costs,
        took=costs,
    )


def report(*records, complete=True):
    protocol = Protocol(reps=REPS, runs=10, workers=1, seed=0)
    return Report(records=records, protocol=protocol, complete=complete)


def test_half_the_regret_in_every_repetition_is_better_beyond_doubt():
    found = compare.ratios([record(ours=BASE / 2 * APART, tpe=BASE)], "ours", "tpe")[0]
    assert (found.ratio, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.median == pytest.approx(0.5)
    assert found.verdict is Verdict.BETTER


def test_twice_the_regret_is_worse_and_equal_regret_is_undecided():
    rows = record(ours=2 * BASE * APART, tpe=BASE, twin=2 * BASE * APART)
    assert compare.ratios([rows], "ours", "tpe")[1].verdict is Verdict.WORSE
    same = compare.ratios([rows], "ours", "twin")[1]
    assert (same.ratio, same.p, same.verdict) == (1.0, 1.0, Verdict.UNDECIDED)


def test_repetitions_are_paired():
    noise = np.exp(np.random.default_rng(1).standard_normal((REPS, 3)))
    paired = compare.ratios([record(ours=0.8 * BASE * APART, tpe=BASE)], "ours", "tpe")[0]
    broken = compare.ratios([record(ours=0.8 * BASE * noise, tpe=BASE)], "ours", "tpe")[0]
    assert paired.verdict is Verdict.BETTER
    assert broken.verdict is Verdict.UNDECIDED


def test_a_regret_of_nothing_counts_as_the_smallest_that_matters():
    zero = record(ours=np.zeros((REPS, 1)), tpe=np.full((REPS, 1), 1e-3))
    assert compare.ratios([zero], "ours", "tpe")[0].ratio == 1.0


def test_tables_weigh_alike_however_large_their_regrets():
    tables = [
        record(ours=BASE / 4 * APART, tpe=BASE),
        record("two", ours=5 * BASE * APART, tpe=5 * BASE),
    ]
    assert compare.ratios(tables, "ours", "tpe")[0].ratio == pytest.approx(0.5)


def test_medians_come_with_intervals_that_hold_them():
    (spread, *_) = compare.spreads(BASE)
    assert spread.low < spread.median == np.median(BASE[:, 0]) < spread.high


def test_a_budget_a_method_does_not_take_is_left_out():
    rows = record(ours=np.where([[True, False, False]], np.nan, BASE), tpe=BASE)
    assert compare.spreads(rows.regrets["ours"])[0] is None
    assert compare.ratios([rows], "ours", "tpe")[0] is None
    assert compare.ratios([rows], "ours", "tpe")[1] is not None


def test_ranks_share_ties():
    rows = record(a=[[1.0], [2.0]], b=[[1.0], [3.0]], c=[[5.0], [1.0]])
    assert compare.ranks([rows]) == {"a": [1.75], "b": [2.25], "c": [2.0]}


def test_equal_quality_is_reached_when_every_table_has_it():
    tables = [
        record(ours=[[0.5, 0.2, 0.1]] * 2, random=[[0.9, 0.5, 0.2]] * 2),
        record("two", ours=[[0.5, 0.4, 0.1]] * 2, random=[[0.9, 0.5, 0.2]] * 2),
    ]
    assert compare.reached(tables[:1], "ours", "random", (2, 5, 10)) == 5
    assert compare.reached(tables, "ours", "random", (2, 5, 10)) == 10
    assert compare.reached(tables, "random", "ours", (2, 5, 10)) == np.inf


def test_losses_are_told_as_plainly_as_wins():
    (apart,) = APART.T
    one = record(
        ours=BASE,
        random=np.column_stack([BASE[:, 0] * 2 * apart, BASE[:, 1], BASE[:, 2] / 4 * apart]),
    )
    first, last = conclusions(report(one))
    assert first == (
        "ours is better than random at 2 full runs (0.50 times its regret, p <= 0.0005); is worse "
        "than random at 10 full runs (4.00 times its regret, p <= 0.0005); cannot be told from "
        "random at 5 full runs (1.00 times its regret, p <= 1)"
    )
    assert last == "ours is at no budget as good as random after 10 full runs"


def test_without_ours_the_first_method_is_the_subject():
    told = report(record(tpe=BASE, random=BASE * 3 * APART))
    assert list(conclusions(told)) == [
        "tpe is better than random at 2, 5 and 10 full runs (0.33 times its regret, p <= 0.0005)",
        "tpe is after 2 full runs as good as random after 10 full runs",
    ]


def test_what_the_seeds_cannot_tell_is_told():
    told = "whoever knew all full runs on one of the seen seeds would have a regret of"
    assert floor(record(ours=BASE)) == f"{told} 0.012 to 0.030"
    assert floor(replace(record(ours=BASE), floors=(0.2, 0.2))) == f"{told} 0.200"


def test_a_picture_is_valid_and_has_a_line_for_each_method():
    drawn = ET.fromstring(picture([record("a<b", ours=BASE, tpe=BASE)] * 2, (2.0, 5.0, 10.0)))
    lines = [part for part in drawn.iter() if part.tag.endswith("polyline")]
    texts = [part.text for part in drawn.iter() if part.tag.endswith("text")]
    assert len(lines) == 4
    assert {"a<b", "ours", "tpe", "full runs spent"} <= set(texts)


def test_a_picture_leaves_out_what_was_not_measured():
    partly = np.where([[True, False, False]], np.nan, BASE)
    drawn = ET.fromstring(picture([record(ours=partly)], (2.0, 5.0, 10.0)))
    (line,) = [part for part in drawn.iter() if part.tag.endswith("polyline")]
    assert len(line.attrib["points"].split()) == 2


@pytest.fixture
def file(tmp_path):
    draw = np.random.default_rng(0)
    axes = {"lr": (1e-4, 1e-3, 1e-2, 1e-1), "weight_decay": (0.01, 0.1, 1.0)}
    losses = (
        draw.random((4, 12, 1)) + np.array([3.0, 2.0, 1.0, 0.0]) + 0.1 * draw.random((4, 12, 4))
    )
    made = Table(name="small", axes=axes, rungs=(1, 3, 9, 27), losses=losses, optimizer="adamw")
    write(made, tmp_path / "small.npz")
    return tmp_path / "small.npz"


def bench(*args):
    return CliRunner().invoke(main, ["bench", "search", *map(str, args)])


def test_the_command_compares_searches(file, monkeypatch):
    monkeypatch.setitem(EVERY, False, math.inf)  # on a crowded machine it would tell how far it is
    result = bench("--table", file, "--reps", 3, "--budget", 12, "--methods", "ours,random,asha")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(
        "small: 12 settings of adamw, 2 seeds to search on and 2 to judge on; 3 repetitions, "
        "12 full runs, 1 worker\n\nmedian regret after  2 "
    )
    assert "regret of ours over" in result.stdout
    assert "\n\nwhoever knew all full runs on one of the seen seeds would have " in result.stdout
    assert "mean rank after" in result.stdout


def test_the_command_writes_one_document_and_a_picture(file, tmp_path):
    out, plot = tmp_path / "out.json", tmp_path / "out.svg"
    shared = ("--table", file, "--reps", 3, "--budget", 5, "--methods", "random,default", "-q")
    result = bench(*shared, "--json", "--out", out, "--plot", plot)
    told = json.loads(result.stdout)
    assert json.loads(out.read_text()) == told
    assert told["checkpoints"] == [2, 5]
    assert np.array(told["tables"][0]["regrets"]["random"]).shape == (3, 2)
    assert told["ratios"]["default"][0]["verdict"] in set(Verdict)
    ET.parse(plot)


def test_the_same_command_says_the_same(file):
    shared = ("--table", file, "--reps", 2, "--budget", 3, "--methods", "tpe,random,sobol")
    assert bench(*shared).stdout == bench(*shared).stdout


def test_several_tables_are_aggregated(file):
    shared = ("--table", file, "--table", file, "--reps", 2, "--budget", 2)
    result = bench(*shared, "--methods", "random,default")
    assert result.stdout.count("small: 12 settings") == 2
    assert "\nall tables\n" in result.stdout


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--methods", "our"], "unknown method 'our'; did you mean 'ours'?"),
        (["--reps", 1], "reps must be at least 2 to compare anything, got 1"),
        (["--budget", 0], "budget must be finite and pay one full run, got 0"),
        (["--out", "nowhere/out.json"], "nowhere/out.json is in a folder that does not exist"),
        (["--budget", 5], "budget.runs must be at least 12 to choose among 2 finalists"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(file, args, sentence):
    result = bench("--table", file, "--reps", 2, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {sentence}")
    assert result.stderr.count("\n") == 1


def test_a_bad_table_is_one_sentence(tmp_path):
    (tmp_path / "t.npz").write_text("lr,loss")
    result = bench("--table", tmp_path / "t.npz")
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {tmp_path}/t.npz: a table must be an .npz file of plain numbers and texts\n"
    )


def test_an_interrupted_command_tells_what_it_has(file, monkeypatch):
    from autotune.bench.search import methods

    seen = []

    def stopped(arena, checkpoints):
        seen.append(arena)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return methods.default(arena, checkpoints)

    monkeypatch.setitem(methods.METHODS, "random", stopped)
    result = bench("--table", file, "--budget", 2, "--methods", "default,random")
    assert result.exit_code == 130
    assert result.stdout.endswith(
        "interrupted after 2 of 40 repetitions: the numbers above are of those\n"
    )
