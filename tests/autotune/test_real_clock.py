"""``benchmarks/real_clock.py``: what it makes of its records, and how it goes on after a kill."""

import itertools
import json
import math
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

from autotune.results.intervals import estimate

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def clock(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import real_clock

    yield real_clock
    for name in ("real_clock", "real_clock_results"):
        del sys.modules[name]


@pytest.fixture
def log(clock, tmp_path):
    return clock.Log(tmp_path / "log.jsonl")


def _turns(clock, tasks=("mlp",), methods=("autotune", "random"), reps=2):
    given = Namespace(tasks=tasks, optimizers=["adan"], minutes=[3.0], reps=reps)
    return list(clock.turns_of(Namespace(**vars(given), methods=list(methods))))


def _fill(log, turns, losses):
    """Record two judging runs a turn, each ``losses(turn)`` give or take 0.1."""
    for turn in turns:
        log.add("found", **turn.key, hyper={"lr": 0.1}, warmup=0.0, seconds=170, trials=9)
        for index, sign in enumerate((-1, 1)):
            loss = losses(turn) + sign * 0.1
            log.add("judged", **turn.key, index=index, loss=loss, constant=4.0)


def test_methods_take_turns_in_an_order_that_turns(clock):
    turns = _turns(clock, methods=("autotune", "random", "optuna-median"), reps=2)
    assert [(turn.rep, turn.method) for turn in turns] == [
        (0, "autotune"), (0, "random"), (0, "optuna-median"),
        (1, "random"), (1, "optuna-median"), (1, "autotune"),
    ]  # fmt: skip


def test_differences_are_paired_by_repetition(clock, log):
    turns = _turns(clock, reps=3)
    best = {0: 1.0, 1: 2.0, 2: 3.0}
    _fill(log, turns, lambda turn: best[turn.rep] + 0.1 * turn.rep * (turn.method == "random"))
    ours, theirs = clock.lines(log, turns[0].case)
    assert (ours.method, ours.difference, ours.loss.mean) == ("autotune", None, pytest.approx(2.0))
    expected = estimate([0.0, -0.1, -0.2])
    assert theirs.difference.mean == pytest.approx(expected.mean)
    assert theirs.difference.high == pytest.approx(expected.high)
    assert (theirs.better, theirs.reps) == (2, 3)


def test_the_interval_over_tasks_weighs_each_task_alike(clock, log):
    turns = [*_turns(clock, ("mlp", "gpt-nano"), reps=1), *_turns(clock, ("mlp",), reps=4)[2:]]
    _fill(log, turns, lambda turn: {"mlp": 1.0, "gpt-nano": 2.0}[turn.case.task]
          * (2 if turn.method == "random" and turn.case.task == "mlp" else 1))  # fmt: skip
    (total,) = clock.totals(log, sorted({turn.case for turn in turns}))
    assert total.ratio.mean == pytest.approx(-math.log(2) / 2)
    assert (total.ratio.n, total.better, total.shown) == (2, 1, (1, 0))


def test_a_run_that_diverged_counts_as_a_constant_answer(clock, log):
    turns = _turns(clock, reps=1)
    _fill(log, turns, lambda turn: math.inf if turn.method == "random" else 1.0)
    _, theirs = clock.lines(log, turns[0].case)
    assert (theirs.loss.mean, theirs.difference.mean) == (4.0, pytest.approx(-3.0))


def test_a_repetition_that_is_not_judged_in_full_is_left_out(clock, log):
    turns = _turns(clock, reps=2)
    _fill(log, turns[:-1], lambda turn: 1.0)
    log.add("found", **turns[-1].key, seconds=1, trials=1)
    log.add("judged", **turns[-1].key, index=0, loss=0.0, constant=4.0)
    ours = clock.lines(log, turns[0].case)[0]
    assert (ours.loss.n, ours.loss.mean) == (1, pytest.approx(1.0))


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_a_killed_run_goes_on_and_repeats_nothing_that_was_written(clock, log, cut):
    turns, done = _turns(clock), []

    def search(turn):
        done.append(turn)
        return {"hyper": {"lr": 0.1}, "warmup": 0.0, "seconds": 1.0, "trials": 3}

    def train(winner, seeds):
        done.extend(seeds)
        return [1.0 + seed % 7 for seed in seeds]

    clock.run(log, turns, 2, search, train)
    whole, everything = log.path.read_text(), list(done)
    assert len(everything) == len(turns) * 3

    log.path.write_text(whole[:-cut])  # killed in the middle of a line
    kept = whole[:-cut].count("\n")
    done.clear()
    clock.run(clock.Log(log.path), turns, 2, search, train)
    assert log.path.read_text() == whole
    assert len(done) == whole.count("\n") - kept


def test_winners_of_a_repetition_are_judged_on_the_same_seeds(clock, log):
    asked = {}

    def train(winner, seeds):
        asked.setdefault(winner["rep"], []).append(tuple(seeds))
        return [1.0] * len(seeds)

    found = {"hyper": {}, "warmup": 0.0, "seconds": 1.0, "trials": 1}
    clock.run(log, _turns(clock), 3, lambda turn: found, train)
    assert all(len(set(seeds)) == 1 for seeds in asked.values())
    assert len({*itertools.chain(*asked[0]), *itertools.chain(*asked[1])}) == 6


def test_tables_say_what_was_found(clock, log):
    turns = _turns(clock, ("mlp", "gpt-nano"))
    _fill(log, turns, lambda turn: 1.1 if turn.method == "random" else 1.0 + 0.01 * turn.rep)
    cases = sorted({turn.case for turn in turns})
    text = clock.shown([li for c in cases for li in clock.lines(log, c)], clock.totals(log, cases))
    assert "random    2     1.1000 ± 0.0000  170 of 180  9" in text
    assert "-0.0950 (-0.1585 to -0.0315)  2 of 2" in text
    assert text.endswith(
        "3 minutes, autotune against random: loss -8.6 % (-8.6 to -8.6) over 2 tasks; lower on 2; "
        "shown by an interval on 2 better, on 0 worse"
    )


def test_results_of_another_machine_or_commit_are_not_mixed(clock, log):
    clock.same_machine(log)
    clock.same_machine(log)
    assert len(log.of("machine")) == 1
    there = {**json.loads(log.path.read_text()), "device": "an abacus"}
    log.path.write_text(json.dumps(there) + "\n")
    with pytest.raises(SystemExit, match=r"was begun on device an abacus, here is .*--out$"):
        clock.same_machine(clock.Log(log.path))
