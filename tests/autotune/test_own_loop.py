"""Tasks that train themselves: one job, jobs that go on, and a whole search."""

from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from autotune import registry
from autotune.errors import SpecError
from autotune.search.coordinator import run
from autotune.search.events import Notice
from autotune.studies.records import SearchState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.loops import Parabola, happened
from autotune.testing.trials import setting_of
from autotune.training import paused
from autotune.training.job import Job, Outcome
from autotune.training.loading import forget
from autotune.training.runner import perform

RUNGS = (3, 9, 27, 81)
TASK = {"model": "parabola", "data": None, "steps": None, "batch_size": None}


@pytest.fixture
def made(monkeypatch):
    """Return a function that makes the task which is registered as parabola."""
    forget()
    known = registry._entries

    def make(**parts):
        task = Parabola(**parts)
        entry = EntryPoint(name="parabola", value="x:y", group="autotune.tasks")
        monkeypatch.setattr(EntryPoint, "load", load(EntryPoint.load, task))
        monkeypatch.setattr(
            registry,
            "_entries",
            lambda group: (
                {**known(group), "parabola": entry} if group == "autotune.tasks" else known(group)
            ),
        )
        forget()
        return task

    yield make
    paused.close_all()
    forget()


def load(usual, task):
    return lambda entry: (lambda **given: task) if entry.name == "parabola" else usual(entry)


def job(trial=1, **changes):
    fields = {
        "trial": trial, "attempt": 1, "task": TASK, "optimizer": "adamw",
        "setting": setting_of(hyper={"lr": 0.01}), "seed": 3, "start": 0, "stop": 81,
        "target": 81, "evaluate": RUNGS,
    }  # fmt: skip
    return Job(**fields | changes)


def performed(job, interrupted=lambda: False, **how):
    """Return the last report of a job, with the points of all."""
    reports = list(perform(job, interrupted, "one", **how))
    return replace(reports[-1], points=sum((report.points for report in reports), ()))


def losses(report):
    return {point.step: point.loss for point in report.points}


def test_a_whole_run_has_its_measurements_and_is_closed(made):
    task = made()
    report = performed(job())
    assert (report.outcome, report.step, report.kept) == (Outcome.REACHED, 81, False)
    assert {10, 20, 40, 81} <= losses(report).keys()
    assert happened(task, 1) == ["begin", "close"]
    assert report.facts["backend"]


def test_a_rung_between_two_measurements_has_the_loss_of_the_next(made):
    made()
    found = losses(performed(job()))
    assert sorted(found) == [3, 9, 10, 20, 27, 40, 81]
    assert found[3] == found[9] == found[10] != found[20]
    assert found[27] == found[40]


def test_a_point_of_a_rung_has_the_seconds_at_which_it_was_passed(made):
    made(measured=(27, 81))
    seconds = [point.seconds for point in performed(job()).points]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) == len(seconds)


def test_a_job_ends_at_the_first_measurement_from_its_stop_on(made):
    made()
    report = performed(job(stop=27))
    assert (report.outcome, report.step, max(losses(report))) == (Outcome.REACHED, 27, 40)


def test_a_measurement_counts_for_all_rungs_before_it(made):
    made(measured=(30, 81))
    assert performed(job(stop=3)).step == 27


def test_a_training_that_is_kept_goes_on_where_it_was(made):
    task = made()
    whole = losses(performed(job(2)))
    first = performed(job(stop=9))
    rest = performed(job(start=9, attempt=2))
    assert first.kept
    assert happened(task, 1) == ["begin", "pause", "resume", "close"]
    assert losses(first) | losses(rest) == whole


def test_seconds_of_a_point_are_all_that_its_training_took(made):
    made()
    performed(job(stop=9))
    [held] = paused._kept.values()
    held.seconds += 1000
    assert {point.seconds > 1000 for point in performed(job(start=9, attempt=2)).points} == {True}


def test_one_that_is_not_kept_begins_again_and_ends_alike(made):
    task = made()
    whole = losses(performed(job(2)))
    first = performed(job(stop=9), keep=False)
    rest = performed(job(start=9, attempt=2), keep=False)
    assert not first.kept
    assert happened(task, 1) == ["begin", "close"] * 2
    assert losses(rest) == whole


def test_another_setting_of_the_same_number_takes_no_training_over(made):
    task = made()
    performed(job(stop=9))
    performed(job(start=9, setting=setting_of(hyper={"lr": 0.5})))
    assert happened(task, 1) == ["begin", "pause", "begin", "close"]


def test_of_too_many_the_one_paused_longest_ago_is_closed(made):
    task = made()
    for trial in range(1, paused.MOST + 2):
        performed(job(trial, stop=9))
    assert [trial for what, trial in task.log if what == "close"] == [1]
    paused.close_all()
    assert sorted(trial for what, trial in task.log if what == "close") == list(
        range(1, paused.MOST + 2)
    )


def test_memory_that_paused_trainings_hold_is_given_back_and_the_job_begins_again(made):
    task = made(greedy=True)
    performed(job(1, stop=9))
    report = performed(job(2))
    assert report.outcome is Outcome.REACHED
    assert happened(task, 1) == ["begin", "pause", "close"]
    assert happened(task, 2) == ["begin", "close", "begin", "close"]
    assert set(losses(report)) == {3, 9, 10, 20, 27, 40, 81}


def test_an_interrupted_job_stands_at_its_measurement_and_goes_on(made):
    task = made()
    asked = iter([False] * 25 + [True] * 100)
    report = performed(job(), interrupted=lambda: next(asked))
    assert (report.outcome, report.step, report.kept) == (Outcome.INTERRUPTED, 20, True)
    assert performed(job(start=20, attempt=2)).outcome is Outcome.REACHED
    assert happened(task, 1) == ["begin", "pause", "resume", "close"]


def test_a_job_that_is_behind_its_kept_training_has_what_was_measured(made):
    made()
    performed(job(stop=27))
    report = performed(job(start=9, stop=27, attempt=2))
    assert (report.outcome, report.step) == (Outcome.REACHED, 27)
    assert set(losses(report)) == {10, 20, 27, 40}


@pytest.mark.parametrize(
    ("measured", "sentence"),
    [
        ((10, 40), "ended after its measurement at step 40; the last measurement must be at step"),
        ((), "ended without a measurement; the last measurement must be at step 81"),
        ((10, 90), "measured step 90, past its last: a run has 81 steps, and the last measurement"),
    ],
)
def test_one_that_never_measures_its_last_step_fails(made, measured, sentence):
    task = made(measured=measured)
    report = performed(job())
    assert report.outcome is Outcome.FAILED
    assert report.reason.startswith(sentence)
    assert happened(task, 1) == ["begin", "close"]


def test_what_its_code_raises_is_a_failure_and_it_is_closed(made):
    task = made(broken=30)
    report = performed(job())
    assert (report.outcome, report.step) == (Outcome.FAILED, 20)
    assert report.reason.startswith("ValueError: it broke (loops.py:")
    assert happened(task, 1) == ["begin", "close"]


def test_a_loss_that_is_no_number_is_divergence(made):
    made()
    report = performed(job(setting=setting_of(hyper={"lr": 1e30})))
    assert report.outcome is Outcome.DIVERGED
    assert report.reason.startswith("validation loss became")


def searched(tmp_path, name="one", listen=None, **changes):
    """Return the trials of a small search, and what was said in it."""
    said = []
    wanted = {
        "model": "parabola", "optimizers": ["adamw"], "budget": {"trials": 5}, "seeds": 2,
        "engine": "inline", "name": name,
    }  # fmt: skip
    with Store(f"sqlite:///{tmp_path}/{name}.db") as store:
        found = run(parse(wanted | changes), store=store, listen=listen or said.append)
        [study] = store.search(name).studies
        trials = [(t.number, t.setting.hyper, t.step, t.loss) for t in store.trials(study.id)]
        return trials, found, [event.text for event in said if isinstance(event, Notice)]


def test_a_search_ends_with_a_verdict(made, tmp_path):
    task = made()
    trials, found, _ = searched(tmp_path)
    assert found.search.state is SearchState.COMPLETE
    assert found.rows[0].tuned.loss.mean <= found.rows[0].default.loss.mean
    assert len(trials) >= 5
    begun = [whose for what, whose in task.log if what == "begin"]
    assert len(begun) == len(set(begun))  # what paused went on in place
    assert len(begun) == len([what for what, _ in task.log if what == "close"])


def test_decisions_are_the_same_whether_paused_trainings_are_kept(made, monkeypatch, tmp_path):
    made()
    kept, _, _ = searched(tmp_path)
    monkeypatch.setattr("autotune.training.paused.MOST", 0)
    task = made()
    lost, _, said = searched(tmp_path, "two")
    begun = [whose for what, whose in task.log if what == "begin"]
    assert len(begun) > len(set(begun))
    assert kept == lost
    assert said == []


def test_a_repeated_measurement_that_differs_is_told_once(made, monkeypatch, tmp_path):
    monkeypatch.setattr("autotune.training.paused.MOST", 0)
    made(wanders=True)
    _, _, said = searched(tmp_path)
    [text] = [text for text in said if "not reproducible" in text]
    assert "its loss at step 3 was" in text


def test_minutes_time_nothing_first_and_say_so_in_one_line(made, tmp_path):
    made()
    _, found, said = searched(tmp_path, budget={"trials": 3, "minutes": 5})
    assert found.search.state is SearchState.COMPLETE
    told = "parabola trains itself, so its pace is known from its first trials on and its runs keep"
    assert [text for text in said if "pace" in text] == [f"{told} their 81 steps"]


def test_an_engine_that_takes_the_steps_itself_refuses_it(made, tmp_path):
    made()
    with pytest.raises(SpecError, match="'parabola' cannot be trained side by side"):
        searched(tmp_path, engine="batched")
