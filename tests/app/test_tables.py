"""Tables and words: numbers stay numbers, strangers' text stays text."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from autotune.app import listing, now, words
from autotune.results.comparison import load
from autotune.studies.records import NO_SEED, AttemptRecord, Role, TrialState
from autotune.studies.store import Store
from autotune.testing import sample

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def comparison(sample_url):
    with Store(sample_url, read_only=True) as store:
        return load(store, sample.NAME)


@pytest.fixture
def record(sample_url):
    with Store(sample_url, read_only=True) as store:
        return store.search(sample.NAME)


def test_a_search_is_listed_with_its_best_optimizer(record):
    row = listing.searches([record]).iloc[0]

    assert (row["search"], row["of"], row["trials"]) == ("resnet-mini", "adan-win", 69)


def test_states_are_counted_over_all_optimizers(record):
    assert listing.totals(record) == {"complete": 45, "stopped": 18, "diverged": 3, "failed": 3}


def warmed(contender, warmup):
    return replace(contender, setting=replace(contender.setting, warmup=warmup))


def test_settings_show_what_differs_and_say_what_does_not(comparison):
    rows = [replace(row, tuned=warmed(row.tuned, 0.1)) for row in comparison.rows]

    table, same = listing.contenders(replace(comparison, rows=tuple(rows)))

    assert list(table.columns[5:]) == ["lr", "betas", "weight_decay", "found by"]
    assert "warm-up 0.1" in same
    assert "acceleration win" in same  # of those that have it


def switched(contender, **switches):
    hyper = {**contender.setting.hyper, **switches}
    return replace(contender, setting=replace(contender.setting, hyper=hyper))


def test_what_is_the_same_leaves_out_switches_that_are_off(comparison):
    def told(**switches):
        rows = [
            replace(row, **{n: switched(getattr(row, n), **switches) for n in ("default", "tuned")})
            for row in comparison.rows
        ]
        return listing.contenders(replace(comparison, rows=tuple(rows)))[1]

    said = told(cautious=False, nesterov=True, max_grad_norm=0.0)
    assert "cautious" not in said
    assert "nesterov True" in said or "nesterov yes" in said
    assert "max_grad_norm 0" in said  # a number, which clipping is told by


def test_each_setting_is_told_with_its_own_loss(comparison):
    table, _ = listing.contenders(comparison)

    told = {(row.optimizer, row.setting): row.loss for row in table.itertuples()}
    for row in (row for row in comparison.rows if row.changed):
        assert told[row.optimizer, "default"] == str(row.default.loss)
        assert told[row.optimizer, "tuned"] == str(row.tuned.loss)
    assert any(row.changed and row.default.loss != row.tuned.loss for row in comparison.rows)


def test_numbers_of_a_trial_stay_numbers(trial):
    table = listing.trials([trial(0, hyper={"lr": 1e-8, "betas": [0.9, 0.99]})])

    assert table["lr"][0] == 1e-8
    assert table["betas"][0] == "0.9, 0.99"


def test_a_filter_matches_reason_and_setting(trial):
    trials = [
        trial(0, state=TrialState.DIVERGED, reason="loss became NaN"),
        trial(1, hyper={"decay": "proximal"}),
    ]

    assert [t.number for t in listing.matching(trials, [], [], "nan")] == [0]
    assert [t.number for t in listing.matching(trials, [], [], "decay=proximal")] == [1]


def test_filters_are_combined(trial):
    trials = [trial(0), trial(1, role=Role.JUDGE), trial(2, state=TrialState.FAILED)]

    assert [t.number for t in listing.matching(trials, ["complete"], ["search"], "")] == [0]


def test_failures_carry_their_reason(trial):
    table = listing.failures([trial(0), trial(1, state=TrialState.FAILED, reason="out of disk")])

    assert list(table["reason"]) == ["out of disk"]


def test_without_failures_the_table_is_empty(trial):
    assert listing.failures([trial(0)]).empty


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"], ids=repr)
def test_csv_does_not_carry_formulas(trial, text):
    table = listing.trials([trial(0, origin=text)])

    row = next(csv.DictReader(io.StringIO(listing.csv(table))))

    assert row["origin"] == f"'{text}"


def test_a_negative_number_in_csv_is_left_alone(trial):
    row = next(csv.DictReader(io.StringIO(listing.csv(listing.trials([trial(0, loss=-1.5)])))))

    assert row["loss"] == "-1.5"


def test_markdown_in_a_name_is_escaped():
    assert words.plain("**a** [b](c) $d$ <e>") == r"\*\*a\*\* \[b\]\(c\) \$d\$ \<e\>"


def test_a_name_stays_on_one_line():
    assert words.plain("a\n\n# b") == r"a \# b"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (0.00012, "0.00012"),
        (3e-8, "3e-08"),
        (1234.5, "1234"),
        (1e4, "10000"),
        (1e6, "1e+06"),
    ],
)
def test_numbers_are_short(number, text):
    assert words.number(number) == text


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (True, "yes"),
        (None, "none"),
        ((0.98, 0.99), "0.98, 0.99"),
        ("win", "win"),
        ([1, True], "1, yes"),
    ],
    ids=str,
)
def test_hyper_parameters_are_written_for_people(item, text):
    assert words.value(item) == text


@pytest.mark.parametrize(
    ("passed", "text"),
    [(2, "just now"), (90, "1.5 min ago"), (7200, "2.0 h ago"), (172800, "2.0 d ago")],
)
def test_times_are_told_from_now(passed, text):
    assert words.ago(NOW - timedelta(seconds=passed), NOW) == text


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("Europe/Berlin", "2026-07-01 14:00:00 CEST"),
        ("Mars/Olympus", "2026-07-01 12:00:00 UTC"),
        ("../etc/passwd", "2026-07-01 12:00:00 UTC"),
        (None, "2026-07-01 12:00:00 UTC"),
    ],
)
def test_a_moment_is_written_in_the_readers_time_zone(zone, text):
    moment = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)

    assert words.moment(moment, words.zone(zone)) == text


def test_an_unknown_parameter_keeps_its_name_without_tags():
    assert words.label("<b>rank") == "&lt;b&gt;rank"


def test_stopped_trials_are_no_failures(sample_url, record):
    with Store(sample_url, read_only=True) as store:
        table = listing.failures(store.trials(record.studies[0].id))

    assert sorted(table["state"]) == ["diverged", "failed"]


def test_a_rung_tells_who_went_on_and_what_stopping_saved(sample_url, record):
    with Store(sample_url, read_only=True) as store:
        table = listing.rungs(store.trials(record.studies[0].id), (10, 30, 90, 270))

    told = {row["rung, steps"]: row for row in table.to_dict("records")}
    assert (told[30]["reached it"], told[30]["went on"], told[30]["stopped here"]) == (12, 9, 3)
    assert told[30]["full runs not spent"] == pytest.approx(3 * 240 / 270, abs=0.005)
    assert (told[270]["reached it"], told[270]["went on"]) == (6, 0)


def test_a_setting_stands_beside_the_default(comparison):
    row = comparison.rows[0]

    table = listing.changes(row.tuned.setting, row.default.setting)

    told = {r["hyper-parameter"]: (r["value"], r["default"]) for r in table.to_dict("records")}
    assert told["lr"] == ("0.01234", "0.001")
    assert "warm-up" in told


def test_a_running_trial_is_told_with_its_worker(trial):
    open_, done = trial(4, state=TrialState.RUNNING, step=30), trial(5)
    attempts = [
        AttemptRecord(
            trial=one.id,
            number=1,
            worker="gpu7-0",
            started=NOW - timedelta(minutes=3),
            heartbeat=NOW,
            ended=None if one is open_ else NOW,
        )
        for one in (open_, done)
    ]

    told = now.workers({"adan": attempts}, {"adan": [open_, done]}, NOW).to_dict("records")

    assert [(row["worker"], row["trial"], row["began"]) for row in told] == [
        ("gpu7-0", 4, "3.0 min ago")
    ]


def test_the_stage_is_the_last_one_that_runs(trial):
    searched, judged = trial(0), trial(1, role=Role.JUDGE, state=TrialState.RUNNING)

    assert now.stage({"adan": [searched], "adamw": [judged]}) == "judge"
    assert now.stage({"adan": [searched]}) == "search"
    assert now.stage({"adan": []}) == "none yet"


def test_what_was_measured_elsewhere_is_marked_and_no_stage(record, trial):
    added = trial(3, role=Role.ADDED, origin="added: a grid", seed=NO_SEED)
    found = listing.trials([added, trial(4)]).replace({float("nan"): None})
    assert list(found["stage"]) == ["added", "search"]
    assert list(found["seed"]) == [None, 0]
    assert now.stage({"adan": [added]}) == "none yet"
    first, *others = record.studies
    assert "added" not in listing.studies(record)
    known = replace(record, studies=(replace(first, added=2), *others))
    assert list(listing.studies(known)["added"]) == [2, *[0] * len(others)]


def test_a_budget_is_told_by_the_optimizer_that_spent_least(record, trial):
    limited = replace(record, spec={"budget": {"trials": 8, "minutes": 10.0}}, seconds=90.0)

    told = now.budget(limited, {"adan": [trial(0), trial(1)], "adamw": [trial(0)]})

    assert told == {"Settings, of 8 each": "1", "Minutes, of 10": "1.5"}


def test_what_changed_last_comes_first(trial):
    trials = [trial(i, updated=NOW + timedelta(seconds=10 * i)) for i in range(20)]

    table = now.newest({"adan": trials}, NOW + timedelta(seconds=190))

    assert list(table["trial"]) == [19, 18, 17, 16, 15, 14, 13, 12]
    assert list(table["when"][:2]) == ["just now", "10 s ago"]
