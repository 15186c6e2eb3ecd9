"""Whole searches: real training, real store."""

import json
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import AlreadyThere, NothingUsable, SpecError
from autotune.search.coordinator import run
from autotune.search.events import (
    Notice,
    SearchEnded,
    SearchStarted,
    Spent,
    TrialEnded,
    TrialProgressed,
    TrialStarted,
)
from autotune.search.lock import exclusive
from autotune.seeds import derive
from autotune.studies.records import Command, Role, SearchState, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.victims import kill, searching


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/autotune.db"


def spec(task_file, function="problem", **changes):
    return parse(
        {
            "model": f"{task_file}:{function}",
            "optimizers": ["adan", "adamw"],
            "budget": {"trials": 4},
            "steps": 27,
            "engine": "inline",
            **changes,
        }
    )


def trials(store, name="problem"):
    """Return what defines each trial: everything but ids and times."""
    found = []
    for study in store.search(name).studies:
        curves = store.curves(study.id)
        for t in store.trials(study.id):
            curve = [(p.step, p.train_loss, p.loss) for p in curves[t.id]]
            own = t.setting
            what = (
                study.optimizer,
                t.number,
                t.role,
                t.origin,
                dict(own.hyper),
                own.warmup,
                t.seed,
            )
            found.append((*what, t.state, t.step, t.loss, curve))
    return found


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A search to which nothing was done, and what it told; its database is only read."""

    task: Path
    database: Path
    heard: list[Any]
    comparison: Any
    trials: list[Any]


@pytest.fixture(scope="module")
def whole(task_text, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "mytask.py"
    path.write_text(task_text)
    heard, database = [], path.with_name("whole.db")
    with Store(f"sqlite:///{database}") as store:
        found = run(spec(path), store=store, listen=heard.append)
        rows = trials(store)
    return Whole(task=path, database=database, heard=heard, comparison=found, trials=rows)


@pytest.fixture
def undisturbed(whole):
    """What a search finds when nothing is done to it."""
    return whole.trials


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of that search, which a test may go on with."""
    shutil.copy(whole.database, tmp_path / "autotune.db")
    with Store(f"sqlite:///{tmp_path}/autotune.db") as store:
        yield store


def test_a_search_ends_with_default_and_tuned_judged_on_three_fresh_seeds(whole):
    with Store(str(whole.database), read_only=True) as store:
        assert store.search("problem").state is SearchState.COMPLETE
    assert {row.optimizer for row in whole.comparison.rows} == {"adan", "adamw"}
    for row in whole.comparison.rows:
        assert set(row.default.losses) == set(row.tuned.losses) == {3, 4, 5}
        assert row.tuned.loss.low is not None
        assert row.verdict


def test_every_loss_of_a_real_task_comes_with_its_accuracy(url):
    mini = parse(
        {
            "model": "mlp",
            "engine": "inline",
            "optimizers": ["adamw"],
            "budget": {"trials": 2},
            "steps": 9,
            "seeds": 2,
        }
    )
    with Store(url) as store:
        run(mini, store=store)
        study = store.search("mlp").studies[0]
        ended = [trial for trial in store.trials(study.id) if trial.loss is not None]
    assert ended
    assert all(trial.accuracy is not None for trial in ended)


def test_search_finds_better_than_a_default_that_is_far_too_slow(task_file, url):
    with Store(url) as store:
        found = run(spec(task_file, optimizers=["adamw"], budget={"trials": 9}), store=store)
    assert found.rows[0].changed
    assert found.rows[0].difference.high < 0


def test_events_tell_the_whole_story(whole):
    heard = whole.heard
    assert isinstance(heard[0], SearchStarted)
    assert isinstance(heard[-1], SearchEnded)
    started = sum(isinstance(event, TrialStarted) for event in heard)
    assert started == sum(isinstance(event, TrialEnded) for event in heard)
    last = [event for event in heard if isinstance(event, Spent)][-1]
    assert last.stage == "judge"
    assert last.runs == pytest.approx(last.planned)


def test_the_same_command_again_reads_and_runs_nothing(whole, finished):
    heard = []
    run(spec(whole.task), store=finished, listen=heard.append)
    assert trials(finished) == whole.trials
    assert not any(isinstance(event, TrialStarted) for event in heard)


def test_all_trials_share_batches_and_initialisation(whole):
    with Store(str(whole.database), read_only=True) as store:
        first = {
            curve[0].train_loss
            for study in store.search("problem").studies
            for trial in store.trials(study.id, Role.SEARCH)
            for curve in [store.curve(trial.id)]
        }
    assert len(first) == 1


@pytest.mark.parametrize("stop_after", [1, 9])
def test_halted_and_continued_equals_undisturbed(task_file, url, undisturbed, stop_after):
    halt = threading.Event()
    ended = []

    def listen(event):
        if isinstance(event, TrialEnded):
            ended.append(event)
            if len(ended) == stop_after:
                halt.set()

    with Store(url) as store:
        run(spec(task_file), store=store, listen=listen, halt=halt)
        assert store.search("problem").state is SearchState.INTERRUPTED
        run(spec(task_file), store=store)
        assert trials(store) == undisturbed


class Pausing:
    """Tells a search to pause after some trials or points, and to go on a little later.

    Args:
        store: Where the search is.
        after: Events after which the search is told to pause.
        kind: The events that count.
        commands: What it is told, one command at each look at the progress after that.
    """

    def __init__(self, store, after, kind=TrialEnded, commands=(Command.CONTINUE,)):
        self.store, self.after, self.kind = store, set(after), kind
        self.commands = commands
        self.seen, self.coming = 0, []
        self.heard = []

    def __call__(self, event):
        self.heard.append(event)
        if isinstance(event, self.kind):
            self.seen += 1
            if self.seen in self.after:
                self.after.discard(self.seen)
                self.coming = [None, None, *self.commands]
                self.store.tell("problem", Command.PAUSE)
        elif isinstance(event, Spent) and self.coming:
            command = self.coming.pop(0)
            if command is not None:
                self.store.tell("problem", command)


WAITING = "told to pause; continue with: autotune tell problem continue"
TWICE = (Command.CONTINUE, Command.PAUSE, None, Command.CONTINUE, Command.PAUSE, Command.CONTINUE)


@pytest.mark.parametrize(
    ("kind", "moments", "commands"),
    [
        (TrialEnded, (1, 6, 11, 15, 19), (Command.CONTINUE,)),
        (TrialProgressed, (2, 25, 60), (Command.CONTINUE,)),
        (TrialEnded, (3, 12), TWICE),
    ],
    ids=["between trials", "within trials", "in quick succession"],
)
def test_paused_and_continued_equals_undisturbed(
    task_file, url, undisturbed, kind, moments, commands, monkeypatch
):
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.1")
    monkeypatch.setattr("autotune.search.asking.WAIT", 0.01)
    with Store(url) as store:
        pausing = Pausing(store, moments, kind, commands)
        run(spec(task_file), store=store, listen=pausing)
        assert not pausing.after
        assert store.search("problem").state is SearchState.COMPLETE
        assert trials(store) == undisturbed
    told = [event.text for event in pausing.heard if isinstance(event, Notice)]
    assert told.count(WAITING) == told.count("told to continue") >= 1


def test_continued_and_halted_at_once_is_not_over(task_file, url, undisturbed):
    halt = threading.Event()
    with Store(url) as store:
        pausing = Pausing(store, [5])

        def listen(event):
            pausing(event)
            if pausing.seen == 5 and isinstance(event, Spent) and not pausing.coming:
                halt.set()

        run(spec(task_file), store=store, listen=listen, halt=halt)
        assert store.search("problem").state is SearchState.INTERRUPTED
        run(spec(task_file), store=store)
        assert trials(store) == undisturbed


def test_stopped_in_a_pause_and_begun_again_equals_undisturbed(task_file, url, undisturbed):
    with Store(url) as store:
        pausing = Pausing(store, [7], commands=[Command.STOP])
        run(spec(task_file), store=store, listen=pausing)
        assert store.search("problem").state is SearchState.INTERRUPTED
        run(spec(task_file), store=store)
        assert trials(store) == undisturbed


def test_a_pause_takes_none_of_the_minutes(task_file, url):
    short = spec(task_file, budget={"trials": 2, "minutes": 1.0}, optimizers=["adamw"], steps=9)
    with Store(url) as store:
        pausing = Pausing(store, [1], commands=[None] * 10 + [Command.CONTINUE])
        began = time.monotonic()
        run(short, store=store, listen=pausing)
        wall = time.monotonic() - began
        assert store.search("problem").seconds < wall - 1.5


@pytest.mark.parametrize("delay", [0.02, 0.3])
def test_killed_and_continued_equals_undisturbed(task_file, tmp_path, url, undisturbed, delay):
    process = searching(
        {
            "model": f"{task_file}:problem",
            "optimizers": ["adan", "adamw"],
            "budget": {"trials": 4},
            "steps": 27,
            "engine": "inline",
        },
        url,
    )
    while not (tmp_path / "autotune.db").exists():
        time.sleep(0.01)
    with Store(url) as store:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            studies = store.searches()[0].studies if store.searches() else ()
            if any(study.counts.get("paused") for study in studies):
                break
            time.sleep(0.01)
    time.sleep(delay)
    kill(process)
    with Store(url) as store:
        run(spec(task_file), store=store)
        assert trials(store) == undisturbed


@pytest.mark.usefixtures("workers_at_once")
def test_two_workers_run_the_same_trials_to_the_same_losses(task_file, url, undisturbed):
    with Store(url) as store:
        run(spec(task_file, engine="processes", workers=2), store=store)
        found = trials(store)
    first = {(row[0], row[1]): row[-1] for row in undisturbed if row[1] < 3}
    assert {(row[0], row[1]): row[-1] for row in found if row[1] < 3}.keys() == first.keys()
    for row in found:
        if row[1] < 2:  # presets, whatever the order things ended in
            known = {step: loss for step, _, loss in first[row[0], row[1]]}
            assert all(known.get(step, loss) == loss for step, _, loss in row[-1])


@pytest.mark.parametrize("runs", [12, 14])
def test_a_budget_of_full_runs_is_never_overshot(task_file, url, runs):
    with Store(url) as store:
        found = run(spec(task_file, budget={"runs": runs}), store=store)
    assert all(row.runs <= runs for row in found.rows)
    assert all(len(row.tuned.losses) == 3 for row in found.rows)


def test_a_budget_of_minutes_is_never_overshot(task_file, url):
    began = time.monotonic()
    with Store(url) as store:
        found = run(spec(task_file, budget={"minutes": 0.25}), store=store)
        assert store.search("problem").seconds <= 0.25 * 60
    assert time.monotonic() - began < 40
    assert found.rows[0].tuned.losses  # on how many seeds depends on what else the machine does


def test_minutes_that_are_too_few_are_told_once(task_file, url):
    short = spec(task_file, budget={"minutes": 0.2}, steps=6000)
    heard = []
    with Store(url) as store, suppress(NothingUsable):
        run(short, store=store, listen=heard.append)
    told = [event for event in heard if isinstance(event, Notice)]
    assert sum("selecting and judging on 3 seeds needs about" in event.text for event in told) == 1


def test_a_raised_budget_goes_on_where_it_ended(whole, finished):
    run(spec(whole.task, budget={"trials": 6}), store=finished)
    after = trials(finished)
    assert len(after) > len(whole.trials)
    assert sum(row[2] is Role.SEARCH for row in after) == 12


def test_another_spec_under_the_same_name_is_refused(whole, finished):
    with pytest.raises(
        AlreadyThere,
        match=r"^search 'problem' is already in sqlite:///.*autotune\.db with another seed; "
        r"give --search NAME \(in Python, name=\) to begin a new one$",
    ):
        run(spec(whole.task, seed=1), store=finished)


def test_a_function_that_raises_gives_failed_trials_with_the_reason(task_file, url):
    with Store(url) as store:
        with pytest.raises(
            NothingUsable,
            match=r"^no trial of 'raising' reached its end with a loss; the first said: "
            r"RuntimeError: the user's own mistake \(mytask\.py:\d+\); mend it and repeat the "
            r"command: what failed is tried again$",
        ):
            run(spec(task_file, "raising"), store=store)
        study = store.search("raising").studies[0]
        states = {trial.state for trial in store.trials(study.id)}
    assert states == {TrialState.FAILED}


def test_a_function_that_returns_nan_gives_diverged_trials(task_file, url):
    with Store(url) as store:
        with pytest.raises(
            NothingUsable, match=r"the first said: training loss became nan at step 1$"
        ):
            run(spec(task_file, "nan"), store=store)
        study = store.search("nan").studies[0]
        assert {trial.state for trial in store.trials(study.id)} == {TrialState.DIVERGED}


def test_two_processes_cannot_run_the_same_search(task_file, url, tmp_path):
    folder = tmp_path / "autotune.db.d" / f"{derive('problem'):08x}"
    with (
        Store(url) as store,
        exclusive(folder, "problem"),
        pytest.raises(
            AlreadyThere,
            match=r"^search 'problem' is being run by another process; wait for it or stop it$",
        ),
    ):
        run(spec(task_file), store=store)


def test_a_budget_that_ends_before_anything_was_measured_says_so(task_file, url):
    with (
        Store(url) as store,
        pytest.raises(
            NothingUsable,
            match=r"^no trial of 'problem' reached its end with a loss; "
            r"the budget ended first, raise it$",
        ),
    ):
        run(spec(task_file, budget={"minutes": 1e-6}), store=store)


def test_full_runs_too_few_to_judge_are_refused_before_anything_is_stored(task_file, url):
    with Store(url) as store:
        with pytest.raises(
            SpecError,
            match=r"^budget\.runs must be at least 12 to choose among 2 finalists and judge on "
            r"3 seeds, got 5; raise it or lower seeds and finalists$",
        ):
            run(spec(task_file, budget={"runs": 5}), store=store)
        assert store.searches() == []


def test_a_raised_budget_that_is_interrupted_stays_raised(whole, finished):
    halt = threading.Event()

    def listen(event):
        if isinstance(event, TrialEnded):
            halt.set()

    raised = spec(whole.task, budget={"trials": 7})
    run(raised, store=finished, listen=listen, halt=halt)
    run(raised, store=finished)
    study = finished.search("problem").studies[0]
    assert len(finished.trials(study.id, Role.SEARCH)) == 7


@pytest.mark.parametrize("function", ["nan", "raising"])
def test_trials_that_end_at_once_use_up_the_budget_all_the_same(task_file, url, function):
    with Store(url) as store, pytest.raises(NothingUsable):
        run(spec(task_file, function, budget={"runs": 12}), store=store)


@pytest.mark.usefixtures("workers_at_once")
def test_a_worker_that_hangs_does_not_outlast_the_minutes(task_file, url, monkeypatch):
    monkeypatch.setattr("autotune.search.coordinator.STEP_TIMEOUT", 1.0)
    began = time.monotonic()
    hanging = spec(task_file, "hanging", budget={"minutes": 0.15}, engine="processes")
    with Store(url) as store, pytest.raises(NothingUsable):
        run(hanging, store=store)
    assert time.monotonic() - began < 60


TALKING = """
import atexit
import sys

print("talk")
atexit.register(lambda: print("compiler:", "torch._dynamo" in sys.modules, file=sys.stderr))
"""


@pytest.fixture(scope="module")
def talkative(task_text, tmp_path_factory):
    """What the command writes while a user's file prints in it and in its worker."""
    folder = tmp_path_factory.mktemp("talking")
    (folder / "mytask.py").write_text(TALKING + task_text)
    command = [
        sys.executable, "-P", "-m", "autotune", "search", "--model", "mytask.py:problem",
        "--optimizer", "adamw", "--trials", "2", "--steps", "9", "--workers", "1", "--json",
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )


def test_what_a_function_prints_does_not_reach_standard_output(talkative):
    assert json.loads(talkative.stdout)["schema_version"] == 1
    assert "talk" in talkative.stderr


def test_neither_the_command_nor_its_workers_load_a_compiler_to_train(talkative):
    assert talkative.stderr.count("compiler: False") == 2


def test_a_setting_that_is_judged_with_a_loss_of_zero_is_recommended(tmp_path, url):
    path = tmp_path / "zero.py"
    path.write_text(
        "import torch\n"
        "from autotune import Problem\n"
        "def problem(seed):\n"
        "    def loss(model, batch):\n"
        "        return 0.0 * model(batch).sum()\n"
        "    batches = [torch.ones(2, 2)]\n"
        "    model = torch.nn.Linear(2, 1)\n"
        "    return Problem(model=model, train=batches, validation=batches, loss=loss)\n"
    )
    with Store(url) as store:
        search = run(spec(path, optimizers=["adan"], steps=9), store=store).search
        assert store.recommendation(search.studies[0].id)["source"] is not None
