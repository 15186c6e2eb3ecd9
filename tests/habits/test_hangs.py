"""A user's code hangs: in a step, an evaluation, a build, an import, with Python's lock held."""

from __future__ import annotations

import math

import pytest

from autotune.engines import hangs
from autotune.engines.hangs import Patience
from autotune.errors import SpecError
from autotune.search.coordinator import run
from autotune.studies.records import TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.habits import eventually, job, over
from autotune.training.job import Outcome
from autotune.training.pulse import Phase

LIMIT = 0.5
HANGS = """
import ctypes


class Batches(list):
    def __getitem__(self, k):
        time.sleep(600)


def after(steps, do):
    def mine(seed):
        left = [steps]

        def loss(model, batch):
            left[0] -= 1
            if left[0] < 0 and model.training:
                do()
            return mean_square(model, batch)

        return problem(seed, loss)

    return mine


def sleep():
    open(os.path.join(os.path.dirname(__file__), "hangs"), "w").close()
    time.sleep(600)


step = after(3, sleep)
locked = after(3, lambda: ctypes.PyDLL(None).sleep(600))


def evaluation(seed):
    return problem(seed, accuracy=lambda model, batch: time.sleep(600))


def build(seed):
    if seed:
        time.sleep(600)
    return problem(seed)


def slow(seed):
    waits = [1.5]

    def loss(model, batch):
        time.sleep(waits.pop() if waits else 0)  # as a compiler does
        return mean_square(model, batch)

    return problem(seed, loss)
"""


@pytest.fixture(scope="module")
def engine(quick):
    engine = quick(workers=1, step_timeout=LIMIT)
    yield engine
    engine.close()


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("step", "no step ended within 0.5 s"),
        ("locked", "no step ended within 0.5 s"),
        ("evaluation", "no evaluation ended within 5 s"),
        ("build", "no first step ended within 5 s"),
    ],
)
def test_a_hang_fails_its_trial_and_the_next_one_runs(engine, write, function, what):
    path = write(HANGS)
    engine.submit(job(path, function))
    report = over(engine)
    reason = f"{what}; --step-timeout sets how long one may take"
    assert (report.outcome, report.reason) == (Outcome.FAILED, reason)
    engine.submit(job(path, "slow"))
    assert over(engine).outcome is Outcome.REACHED


def test_what_hangs_when_it_is_asked_to_stop_is_ended_and_not_blamed(
    quick, write, tmp_path, monkeypatch
):
    monkeypatch.setattr(hangs, "ASKED", 0.3)
    engine = quick(workers=1)
    try:
        engine.submit(job(write(HANGS), "step"))
        eventually((tmp_path / "hangs").exists)
        engine.interrupt()
        report = over(engine)
        assert (report.outcome, report.blame) == (Outcome.LOST, False)
        assert report.reason.startswith("no step ended within 0.3 s")
    finally:
        engine.close()


@pytest.mark.usefixtures("workers_at_once")
def test_a_search_with_a_setting_that_hangs_goes_on(write, tmp_path):
    path = write(
        """
        def mine(seed):
            first = os.path.join(os.path.dirname(__file__), "first")
            steps = []

            def loss(model, batch):
                steps.append(1)
                if len(steps) > 3 and model.training and not os.path.exists(first):
                    open(first, "w").close()
                    time.sleep(600)
                return mean_square(model, batch)

            return problem(seed, loss)
        """
    )
    spec = {
        "model": f"{path}:mine", "optimizers": ["adamw"], "budget": {"trials": 2}, "steps": 9,
        "workers": 1, "step_timeout": LIMIT,
    }  # fmt: skip
    with Store(str(tmp_path / "autotune.db")) as store:
        run(parse(spec), store=store)
        failed, *others = store.trials(1)
        assert failed.state is TrialState.FAILED
        assert failed.reason.startswith("no step ended within 0.5 s")
        assert {trial.state for trial in others} <= {TrialState.COMPLETE, TrialState.STOPPED}


def test_how_long_a_step_may_take_is_learned_from_the_slowest():
    patience = Patience()
    assert [patience.limit(phase) for phase in (Phase.STEP, Phase.START)] == [60.0, 600.0]
    patience._longest[Phase.STEP] = 9.0
    assert patience.limit(Phase.STEP) == 180.0
    assert patience.asked(Phase.STEP) == 30.0
    patience._longest[Phase.STEP] = 50.0
    assert patience.asked(Phase.STEP) == 150.0


def test_a_users_own_loop_may_take_as_long_to_measure_as_was_given_or_seen():
    patience = Patience()
    assert patience.limit(Phase.LOOP) == math.inf  # nobody knows how long its first one takes
    assert patience.asked(Phase.LOOP) == 30.0
    patience._longest[Phase.LOOP] = 50.0
    assert (patience.limit(Phase.LOOP), patience.asked(Phase.LOOP)) == (1000.0, 150.0)
    assert Patience(7.0).limit(Phase.LOOP) == 7.0


def test_time_in_which_all_were_suspended_does_not_count(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    class Pulse:
        def read(self):
            return Phase.STEP, 1.0

    stuck = hangs.Stuck()
    for passed in (0.5, 0.5, 3600.0, 0.5):
        clock[0] += passed
        stuck.look(Pulse())
    assert stuck.seconds == pytest.approx(0.5 + hangs.LOOKED + 0.5)


def test_an_engine_that_cannot_end_a_step_refuses_a_limit(write, tmp_path):
    spec = {"model": f"{write('')}:problem", "engine": "inline", "step_timeout": 5.0}
    with (
        Store(str(tmp_path / "autotune.db")) as store,
        pytest.raises(
            SpecError,
            match=r"^step_timeout needs engine 'processes', which can end a step, got engine "
            r"'inline'; leave it out or change the engine$",
        ),
    ):
        run(parse(spec), store=store)
