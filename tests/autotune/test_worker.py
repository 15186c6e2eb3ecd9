"""Workers that join a search, leave it, and refuse to do harm."""

from __future__ import annotations

import threading

import pytest

from autotune import environment
from autotune.errors import AlreadyThere, NotFound, SpecError
from autotune.search.coordinator import run
from autotune.search.events import Notice, SearchStarted, Spent, TrialEnded
from autotune.search.worker import Guard, Terms, TooManyFailures, work
from autotune.studies.records import Command, SearchState, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.trials import setting_of
from autotune.training.job import Job, Outcome, Report

ALONE = Terms(name="w1", engine="inline")


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path}/autotune.db") as opened:
        yield opened


def spec(task_file, **changes):
    return parse(
        {
            "model": f"{task_file}:problem", "optimizers": ["adamw"], "budget": {"trials": 4},
            "steps": 9, "engine": "inline", **changes,
        }
    )  # fmt: skip


@pytest.fixture
def left(store, task_file):
    """A search whose command was interrupted after its first trial."""
    halt = threading.Event()

    def listen(event):
        if isinstance(event, TrialEnded):
            halt.set()

    run(spec(task_file), store=store, listen=listen, halt=halt)
    return store.search("problem")


def test_a_worker_alone_ends_a_search_whose_command_left(store, left):
    assert work("problem", store=store, terms=ALONE).state is SearchState.COMPLETE
    assert store.recommendation(left.studies[0].id)["source"] is not None


def test_a_worker_finds_what_the_command_alone_would_have(store, left, task_file, tmp_path):
    work("problem", store=store, terms=ALONE)
    with Store(str(tmp_path / "whole.db")) as whole:
        run(spec(task_file), store=whole)
        expected = [(t.number, t.setting.hyper, t.state, t.loss) for t in whole.trials(1)]
    assert [(t.number, t.setting.hyper, t.state, t.loss) for t in store.trials(1)] == expected


def test_nothing_is_left_to_do_in_a_complete_search(store, task_file):
    run(spec(task_file), store=store)
    heard = []
    work("problem", store=store, terms=ALONE, listen=heard.append)
    assert heard == []


def test_an_unknown_search_is_named(store):
    with pytest.raises(NotFound, match=r"^no search 'net' in .*, which holds none yet$"):
        work("net", store=store, terms=ALONE)


def test_a_search_that_was_told_to_stop_is_not_joined(store, left):
    store.tell("problem", Command.STOP)
    sentence = "search 'problem' was told to stop; continue it with: autotune tell problem continue"
    with pytest.raises(SpecError, match=f"^{sentence}$"):
        work("problem", store=store, terms=ALONE)


def test_a_worker_that_is_told_to_stop_hands_back(store, left, monkeypatch):
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.1")

    def listen(event):
        if isinstance(event, TrialEnded):
            store.tell("problem", Command.STOP)

    found = work("problem", store=store, terms=ALONE, listen=listen)
    assert found.state is SearchState.INTERRUPTED
    assert store.changes(found.id).held == {}


def test_the_command_lets_a_stopped_search_go_on(store, left, task_file):
    store.tell("problem", Command.STOP)
    run(spec(task_file), store=store)
    assert store.search("problem").state is SearchState.COMPLETE


def test_a_paused_worker_waits_and_goes_on(store, left, monkeypatch):
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.1")
    store.tell("problem", Command.PAUSE)
    threading.Timer(1.0, store.tell, ("problem", Command.CONTINUE)).start()
    assert work("problem", store=store, terms=ALONE).state is SearchState.COMPLETE


def test_a_paused_worker_goes_on_to_what_the_command_alone_would_have_found(
    store, left, task_file, tmp_path, monkeypatch
):
    ended = []

    def listen(event):
        if isinstance(event, TrialEnded):
            ended.append(event)
            store.tell("problem", Command.PAUSE if len(ended) in {2, 5} else Command.CONTINUE)
        elif isinstance(event, Spent):
            seen.append(store.changes(left.id).command)
            if seen[-3:] == [Command.PAUSE] * 3:
                store.tell("problem", Command.CONTINUE)

    seen = []
    assert work("problem", store=store, terms=ALONE, listen=listen).state is SearchState.COMPLETE
    assert seen.count(Command.PAUSE) >= 6
    with Store(str(tmp_path / "whole.db")) as whole:
        run(spec(task_file), store=whole)
        expected = [(t.number, t.setting.hyper, t.state, t.loss) for t in whole.trials(1)]
    assert [(t.number, t.setting.hyper, t.state, t.loss) for t in store.trials(1)] == expected


def test_a_name_that_comes_back_takes_up_what_it_ran(store, left):
    trial = next(t for t in store.trials(1) if t.state is TrialState.PAUSED)
    store.begin(trial.id, "w1")
    work("problem", store=store, terms=ALONE)
    assert store.trial(trial.id).state in {TrialState.COMPLETE, TrialState.STOPPED}


def test_another_workers_trial_is_left_to_it(store, left, monkeypatch):
    trial = next(t for t in store.trials(1) if t.state is TrialState.PAUSED)
    attempt = store.begin(trial.id, "w2", stop=9)
    halt, heard = threading.Event(), []

    def listen(event):
        heard.append(event)
        if isinstance(event, TrialEnded) and len(store.trials(1)) > 3:
            halt.set()

    work("problem", store=store, terms=ALONE, listen=listen, halt=halt)
    ended = [event.trial.id for event in heard if isinstance(event, TrialEnded)]
    assert trial.id not in ended
    assert store.record(trial.id, attempt, state=TrialState.PAUSED, step=9).step == 9


def test_other_versions_are_warned_of(store, left, monkeypatch):
    facts = {**environment.facts(), "python": "2.7"}
    monkeypatch.setattr(environment, "facts", lambda **_: facts)
    heard = []
    work("problem", store=store, terms=ALONE, listen=heard.append)
    (said,) = [event.text for event in heard if isinstance(event, Notice)]
    assert said.endswith("here is 2.7; losses may differ, --strict refuses")


def test_other_versions_are_refused_when_strict(store, left, monkeypatch):
    facts = {**environment.facts(), "python": "2.7"}
    monkeypatch.setattr(environment, "facts", lambda **_: facts)
    strict = Terms(name="w1", engine="inline", strict=True)
    with pytest.raises(SpecError, match=r"^search 'problem' was begun with python .*; install"):
        work("problem", store=store, terms=strict)


def test_a_task_whose_file_changed_is_refused(store, left, task_file):
    task_file.write_text(task_file.read_text().replace("3.0", "4.0"))
    with pytest.raises(AlreadyThere, match=r"with another content of its data or model file"):
        work("problem", store=store, terms=ALONE)


def test_three_early_failures_stop_a_worker(store, task_file):
    halt = threading.Event()
    raising = spec(task_file, model=f"{task_file}:raising", budget={"trials": 8})
    heard = []

    def listen(event):
        heard.append(event)
        if isinstance(event, SearchStarted):
            halt.set()

    run(raising, store=store, listen=listen, halt=halt)
    with pytest.raises(
        TooManyFailures, match=r"^the first 3 trials here failed, the last said: Runtime"
    ):
        work("raising", store=store, terms=ALONE)


class Told:
    """An engine that reports what it is told to."""

    slots = 1

    def __init__(self, outcomes):
        self.outcomes = list(outcomes)

    def submit(self, job):
        pass

    def reports(self, timeout):
        outcome = self.outcomes.pop(0)
        return [Report(trial=1, attempt=1, outcome=outcome, step=0, reason="why")]


@pytest.mark.parametrize(
    ("outcomes", "stops"),
    [
        ([Outcome.LOST] * 3, True),
        ([Outcome.LOST, Outcome.FAILED, Outcome.LOST], True),
        ([Outcome.LOST, Outcome.LOST, Outcome.REACHED, Outcome.LOST], False),
        ([Outcome.DIVERGED] * 3, False),
    ],
)
def test_only_failures_in_a_row_count(outcomes, stops):
    guard = Guard(Told(outcomes), threading.Event())
    guard.submit(
        Job(
            trial=1, attempt=1, task={}, optimizer="adan", setting=setting_of(), seed=0, start=0,
            stop=9, target=9, evaluate=(9,),
        )
    )  # fmt: skip
    for _ in outcomes:
        guard.reports(0.0)
    assert (guard.last_failure == "why") is stops
