"""``benchmarks/transfer.py``: what its statistics see and do not, and how it goes on."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from autotune.studies.setting import Setting
from autotune.training.side_by_side import Member, loss_curves

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SETS = ("reference", "one", "two", "three")


@pytest.fixture(scope="module")
def study() -> ModuleType:
    before, path = set(sys.modules), list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    import transfer

    yield transfer
    sys.path[:] = path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(BENCHMARKS):
            del sys.modules[name]


def planted(seed: int, gain: float = 0.0, tasks: int = 10) -> dict[str, list[np.ndarray]]:
    """Return differences to the first set in two cases of three seeds; "two" is lower by gain."""
    draw = np.random.default_rng(seed)
    found = {}
    for task in range(tasks):
        size = 10.0 ** draw.uniform(-2, 0)  # tasks differ in how much anything changes
        shift = draw.normal(0, size, (1, len(SETS))) - [[0, 0, gain * size, 0]]
        cases = [shift + draw.normal(0, size, (3, len(SETS))) for _ in range(2)]
        found[f"task{task}"] = [case - case[:, :1] for case in cases]
    return found


def judged(study, sampled):
    spreads = {task: study.transfer_report.spread(cases) for task, cases in sampled.items()}
    return study.transfer_report.effects(SETS, sampled, spreads)


def test_a_set_that_is_better_on_every_task_wins(study):
    found = judged(study, planted(0, gain=4.0))
    two = found[SETS.index("two")]
    assert two.shown
    assert (two.better, two.worse) == (10, 0)
    assert two.high < 0
    said = study.transfer_report.verdict(found, "reference")
    assert said.startswith("two is better than reference: loss -")


def test_a_set_that_is_worse_on_every_task_is_no_winner(study):
    said = study.transfer_report.verdict(judged(study, planted(0, gain=-4.0)), "reference")
    assert said == "no set is shown to be better than reference; shown to be worse: two"


def test_a_set_that_changes_next_to_nothing_is_shown_to_be_as_good(study):
    sampled = {task: [1e-3 * case for case in cases] for task, cases in planted(0).items()}
    said = study.transfer_report.verdict(judged(study, sampled), "reference")
    assert said.endswith("; shown to be at most 1 % worse: one, two, three")


def test_where_nothing_differs_the_test_errs_as_often_as_it_says(study):
    results = sys.modules["transfer_results"]
    wrong = 0
    for seed in range(400):
        sampled = planted(seed)
        units = np.array([np.mean([case.mean(0) for case in cases], axis=0)
                          for cases in sampled.values()])  # fmt: skip
        wrong += results.corrected(units / np.abs(units).max(1, keepdims=True)).min() < 0.05
    # 20 are expected; beyond these bounds lies a chance of about 1 in 1000.
    assert 7 <= wrong <= 35


def test_a_single_set_is_tested_as_wilcoxon_would(study):
    from scipy.stats import wilcoxon

    column = np.random.default_rng(3).normal(0.4, 1, 9)
    results = sys.modules["transfer_results"]
    assert results.corrected(column[:, None])[0] == pytest.approx(wilcoxon(column).pvalue)


def test_an_interval_covers_what_was_planted(study):
    found = judged(study, planted(5, gain=1.0, tasks=40))
    one = found[SETS.index("one")]
    assert one.low < 0 < one.high
    assert one.low < one.mean < one.high


def test_runs_side_by_side_end_as_each_does_alone(study):
    task = replace(study.task("field"), steps=12)
    settings = [
        Setting(params={}, hyper={"lr": lr, "weight_decay": decay}, warmup=0.2)
        for lr, decay in ((0.05, 0.1), (0.01, 0.0), (0.02, 3.0))
    ]
    together = study.losses(task, "adan", settings, 7)
    alone = loss_curves(task, "adan", [Member(setting=s, seed=7) for s in settings], (12,))
    assert together == pytest.approx(alone[:, 0].tolist(), rel=1e-4)


def test_a_larger_batch_holds_the_samples_of_several(study):
    small, large = (study.task("ratings", batch=batch).build(3) for batch in (1, 4))
    assert [len(column) for column in large.train[0]] == [4 * len(c) for c in small.train[0]]
    assert large.train[1][2].tolist() == [v for b in small.train[4:8] for v in b[2].tolist()]
    assert study.task("mlp", batch=4).batch_size == 4 * study.task("mlp").batch_size


def test_a_target_runs_all_tasks_on_a_seed_before_the_next_seed(study):
    todo = study.units(3, list(study.OPTIMIZERS))
    first = Counter((unit.case.steps, unit.case.batch, unit.seed) for unit in todo[:66])
    assert first == {(1, 1, 0): 22, (3, 1, 0): 22, (1, 4, 0): 22}
    for target in study.TARGETS:
        own = [unit.seed for unit in todo if (unit.case.steps, unit.case.batch) == target]
        grids = [None] * 22 if target in study.GRIDS else []
        assert own == [0] * 22 + [1] * 22 + grids + [2] * 22


@pytest.fixture
def begun(study, tmp_path, monkeypatch):
    """Return a study that has found settings, the runs that it made, and one of its units."""
    hyper = {"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.96, 0.98)}
    tuned, default = (Setting(params={}, hyper={**hyper, "lr": lr}, warmup=0.2) for lr in (1, 2))
    made = []

    def trained(task, optimizer, settings, seed):
        made.append([setting.hyper["lr"] for setting in settings])
        return [setting.hyper["lr"] for setting in settings]

    monkeypatch.setattr(study, "losses", trained)
    own = study.Study(tmp_path)
    own.log.add(
        "found", task="field", optimizer="adan", tuned=study.plain(tuned),
        default=study.plain(default), constant=9.0,
    )  # fmt: skip
    case = study.Case(task="field", optimizer="adan", steps=1, batch=4)
    return own, made, study.Unit(case=case, seed=0)


def test_settings_that_two_sets_agree_on_run_once(study, begun):
    own, made, unit = begun
    # lr and betas each as they were or restated, and the decay that follows lr
    assert own.work(unit) == len(made[0]) == 2 * 6
    carried = study.contenders(unit.case, own.found(unit.case))
    hashes = {who: study.hashed(setting) for who, setting in carried.items()}
    assert hashes["tuned", "timescale"] == hashes["tuned", "none"]
    assert own.runs.of(unit.case, hashes["tuned", "timescale"]) == {0: 1.0}
    assert own.runs.of(unit.case, hashes["default", "batch"]) == {0: 4.0}


def test_it_goes_on_after_a_line_that_was_cut_short(study, begun, tmp_path):
    own, _, unit = begun
    own.work(unit)
    whole = own.runs.path.read_text()
    own.runs.path.write_text(whole[:-5])
    again = study.Study(tmp_path)
    assert again.work(unit) == 1
    assert again.work(unit) == 0
    assert sorted(again.runs.path.read_text().splitlines()) == sorted(whole.splitlines())


def test_a_run_that_diverged_counts_as_a_constant_answer(study, begun):
    own, _, unit = begun
    carried = study.contenders(unit.case, own.found(unit.case))
    hashes = {who: study.hashed(setting) for who, setting in carried.items()}
    whos = [("tuned", "none"), ("tuned", "batch")]
    for who, loss in zip(whos, (2.0, float("inf")), strict=True):
        own.runs.add(unit.case, 0, (*who, hashes[who]), loss)
    recorded = study.transfer_report.Recorded(
        study.Study(own.runs.path.parent).runs, own.log, {unit.case: hashes}, study.SETS, "none"
    )
    assert np.exp(recorded.losses(unit.case, whos)).tolist() == [[2.0, pytest.approx(9.0)]]


def test_the_report_names_the_rules_that_were_planted_as_needed(study, tmp_path, monkeypatch):
    def trained(task, optimizer, settings, seed):
        """Let the best lr be twice what was tuned where the batch is four times as large."""
        noise = 0.01 * np.random.default_rng(seed + len(task.name)).normal()
        return [1 + noise + abs(np.log2(setting.hyper["lr"]) - 1) for setting in settings]

    monkeypatch.setattr(study, "losses", trained)
    hyper = {"lr": 1.0, "weight_decay": 0.1, "betas": (0.9, 0.96, 0.98)}
    tuned, worse = ({"hyper": {**hyper, "lr": lr}, "warmup": 0.2} for lr in (1.0, 0.1))
    own = study.Study(tmp_path)
    for name in list(study.OPTIMIZERS)[:7]:
        found = {"task": name, "optimizer": "adan", "tuned": tuned, "default": worse}
        own.log.add("found", **found, constant=100.0)
        case = study.Case(task=name, optimizer="adan", steps=1, batch=4)
        for seed in (0, 1, None):
            own.work(study.Unit(case=case, seed=seed))
    own.work(study.Unit(case=replace(case, steps=3), seed=0))  # no other task was run there
    said = study.report(own)
    assert "### All targets (1x/4x; 7 tasks)" in said
    (verdict,) = {line for line in said.splitlines() if line.startswith("no set is shown")}
    assert "shown to be worse: none, timescale, betas-samples" in verdict
    assert "shown to be at most 1 % worse: batch," in verdict
    best = [line for line in said.splitlines() if line.startswith("| 1x/4x | 7 ")]
    assert [cell.strip()[:4] for cell in best[0].split("|")[3:4]] == ["2.00"]
