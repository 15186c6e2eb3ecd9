"""Loops of one's own, through the client: the same trials, told once, given back when they end."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys

import httpx2
import pytest
import torch

from autotune.api.trial import Trial
from autotune.client import Client
from autotune.errors import NotFound, NothingUsable, SpecError, Unavailable
from autotune.studies.records import TrialState
from autotune.studies.store import Store
from autotune.testing.remote import BODY, loss_of


@pytest.fixture
def dial(begun, way, tmp_path):
    """Return clients of a service within this process; their files are in a folder of the test."""

    def make(transport=None, states=tmp_path / "states", **more):
        used = transport or way
        return Client(str(begun.base_url), transport=used, states=states, **more)

    return make


def train(trials, most=None):
    """Train trials by a loop whose losses are made up; return what it saw."""
    seen = []
    for trial in trials:
        seen.append((trial.number, trial.start, trial.stop))
        for step in trial.evaluate:
            if not trial.report(step, loss_of(trial.hyper, trial.seed, step)):
                break
        trial.save({"step": step})
        if len(seen) == most:
            break
    return seen


def stored(url):
    with Store(url, read_only=True) as store:
        (study,) = store.search("bowl").studies
        curves = store.curves(study.id)
        return [
            (
                t.number,
                t.role,
                t.state,
                t.step,
                t.loss,
                [(p.step, p.loss) for p in curves.get(t.id, ())],
            )
            for t in store.trials(study.id)
        ]


def attempts(begun, number=0):
    """Return the number that the next attempt at a trial has."""
    path = "/v1/searches/bowl/leases"
    lease = begun.post(path, json={"worker": "other", "count": 8}).json()["leases"]
    return next(one["attempt"] for one in lease if one["trial"] == number)


def test_a_search_is_trained_to_its_end_and_read(dial, url):
    client = dial()
    with pytest.raises(NothingUsable, match="not"):
        client.recommendation("bowl", "adamw")
    seen = train(client.trials("bowl"))
    assert len({number for number, *_ in seen}) == 8
    assert [start for _, start, _ in seen].count(3) == 2
    found = client.recommendation("bowl", "adamw")
    assert found["complete"]
    assert found["verdict"].startswith("tuned adamw")
    assert client.search("bowl")["state"] == "complete"
    assert client.begin("bowl", BODY)["name"] == "bowl"
    assert train(client.trials("bowl")) == []


def test_its_trials_are_the_tuners_trials(dial):
    for trial in dial().trials("bowl"):
        assert type(trial) is Trial
        model = torch.nn.Linear(2, 1)
        optimizer = trial.build(model)
        schedule = trial.schedule(optimizer)
        assert optimizer.param_groups[0]["initial_lr"] == trial.hyper["lr"]
        assert schedule.get_last_lr()[0] < trial.hyper["lr"]
        break


def test_states_are_files_of_the_worker_and_leave_with_their_trials(dial, tmp_path, begun):
    for trial in dial().trials("bowl"):
        if trial.start:
            assert trial.state == {"step": 3}
        else:
            assert trial.state is None
        for step in trial.evaluate:
            trial.report(step, loss_of(trial.hyper, trial.seed, step))
            trial.save({"step": step})
        assert len(list(tmp_path.glob("states/bowl/*.pt"))) <= 2
    assert list(tmp_path.glob("states/bowl/*")) == []


def test_a_worker_that_cannot_reach_a_state_begins_at_step_0(dial, tmp_path, caplog, url):
    train(dial(states=tmp_path / "one").trials("bowl"), most=2)
    for file in tmp_path.glob("one/bowl/*.pt"):
        file.rename(file.with_suffix(".gone"))
    seen = train(dial(states=tmp_path / "two").trials("bowl"))
    assert all(start == 0 for _, start, _ in seen)
    assert "begins at step 0 again; let all workers write to the same folder" in caplog.text
    assert all(state is TrialState.COMPLETE for _, _, state, *_ in stored(url)[2:])


def test_a_damaged_state_is_not_used(dial, tmp_path, caplog):
    client = dial()
    train(client.trials("bowl"), most=2)
    for file in tmp_path.glob("states/bowl/*.pt"):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    seen = train(client.trials("bowl"))
    assert all(start == 0 for _, start, _ in seen)
    assert "cannot be used here" in caplog.text


@pytest.mark.parametrize("loss", [math.nan, math.inf, torch.tensor(-math.inf)])
def test_a_loss_that_is_not_finite_says_that_the_trial_diverged(dial, url, loss):
    for trial in dial().trials("bowl"):
        if trial.number == 0:
            assert not trial.report(3, loss)
            assert not trial.report(3, 0.5)
            continue
        break
    assert stored(url)[0][2] is TrialState.DIVERGED


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (MemoryError(), TrialState.DIVERGED),
        (torch.OutOfMemoryError("CUDA out of memory"), TrialState.DIVERGED),
        (ZeroDivisionError("division by zero"), TrialState.FAILED),
    ],
    ids=["memory", "cuda", "failure"],
)
def test_an_exception_in_a_with_block_ends_the_trial_and_not_the_search(dial, url, error, state):
    numbers = []
    for trial in dial().trials("bowl"):
        numbers.append(trial.number)
        if trial.number:
            break
        with trial:
            raise error
    assert numbers == [0, 1]
    assert stored(url)[0][2] is state


def test_a_loop_that_ends_too_early_fails_its_trial(dial, url):
    for trial in dial().trials("bowl"):
        if trial.number:
            break
    assert stored(url)[0][2] is TrialState.FAILED


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_is_left_gives_its_trial_back_at_once(dial, begun, url, error):
    def loop():
        for trial in dial().trials("bowl"):
            assert trial.report(1, 0.5)
            raise error

    with pytest.raises(error):
        loop()
    assert attempts(begun) == 2
    assert stored(url)[0][2] is TrialState.RUNNING


@pytest.fixture
def undefended():
    """A process that has no handler of SIGTERM, whatever a test before has left."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("undefended")
def test_sigterm_gives_the_trial_back_and_ends_the_process(dial, begun):
    def loop():
        for _ in dial().trials("bowl"):
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal came too late")

    with pytest.raises(SystemExit) as ended:
        loop()
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert attempts(begun) == 2


@pytest.mark.usefixtures("undefended")
def test_a_handler_of_the_callers_own_stays(dial):
    def own(number, frame):
        raise AssertionError

    signal.signal(signal.SIGTERM, own)
    for _ in dial().trials("bowl"):
        assert signal.getsignal(signal.SIGTERM) is own
        break


def test_a_worker_of_the_same_name_gets_its_trial_back_at_its_saved_step(dial):
    held = dial().trials("bowl", worker="gpu7-0")
    first = next(held)
    first.report(1, 0.5)
    first.save({"step": 1})
    anew = dial().trials("bowl", worker="gpu7-0")
    again = next(anew)
    assert (again.number, again.start, again.state) == (first.number, 1, {"step": 1})
    assert again.evaluate == (3,)
    assert not again.report(3, 0.4)
    again.save({"step": 3})
    assert next(anew).number == 1
    anew.close()
    held.close()


def test_a_worker_that_died_between_its_last_save_and_its_end_only_ends(dial, url):
    held = dial().trials("bowl", worker="gpu7-0")
    first = next(held)
    for step, loss in ((1, 0.5), (3, 0.4)):
        first.report(step, loss)
    first.save({"step": 3})
    for again in dial().trials("bowl", worker="gpu7-0"):
        if again.number:
            break
        assert (again.start, again.stop, again.evaluate) == (3, 3, ())
    assert stored(url)[0][2:5] == (TrialState.PAUSED, 3, 0.4)
    held.close()


def test_a_name_that_asks_already_is_refused(dial):
    client = dial()
    held = client.trials("bowl", worker="w")
    next(held)
    with pytest.raises(SpecError, match="worker 'w' asks for trials of search 'bowl' already"):
        next(client.trials("bowl", worker="w"))
    held.close()
    next(client.trials("bowl", worker="w"))


def test_a_lease_that_another_took_over_is_said_once_and_the_loop_goes_on(dial, begun, caplog):
    client = dial()
    for trial in client.trials("bowl", worker="w"):
        begun.post("/v1/searches/bowl/leases", json={"worker": "w"})
        assert not trial.report(1, 0.5)
        assert not trial.report(3, 0.5)
        trial.save({"step": 3})
        break
    said = [r.message for r in caplog.records if "is not this worker's any more" in r.message]
    assert len(said) == 1
    assert "adamw trial 0 is not this worker's any more: attempt 1 at adamw trial 0" in said[0]


def test_a_heartbeat_that_is_refused_stops_the_loop_at_its_next_report(
    dial, begun, monkeypatch, caplog
):
    monkeypatch.setenv("AUTOTUNE_LEASE", "1")
    for trial in dial().trials("bowl", worker="w"):
        begun.post("/v1/searches/bowl/leases", json={"worker": "w"})
        taken = trial._answers.taken
        for _ in range(200):
            if taken.over:
                break
            trial._answers.source._beats._stop.wait(0.02)
        assert taken.over
        assert not trial.report(3, 0.5)
        break


def test_heartbeats_keep_a_lease_while_the_loop_is_away(dial, monkeypatch, begun):
    monkeypatch.setenv("AUTOTUNE_LEASE", "1")
    for trial in dial().trials("bowl", worker="w"):
        trial._answers.source._beats._stop.wait(1.6)
        begun.post("/v1/searches/bowl/leases", json={"worker": "other", "count": 1})
        assert trial.report(1, 0.6)
        break


def test_a_paused_search_is_left_and_its_trial_taken_again(dial, begun, url):
    numbers = []
    for trial in dial().trials("bowl"):
        numbers.append(trial.number)
        headers = {"If-Match": "*"}
        begun.patch("/v1/searches/bowl", json={"command": "stop"}, headers=headers)
        assert not trial.report(1, 0.5)
    assert numbers == [0]
    begun.patch("/v1/searches/bowl", json={"command": "continue"}, headers=headers)
    assert train(dial().trials("bowl"))[0][0] == 0
    assert all(state is TrialState.COMPLETE for _, _, state, *_ in stored(url)[2:])


def test_what_is_refused_is_the_librarys_own_sentence(dial):
    client = dial()
    with pytest.raises(NotFound, match="no search 'other'"):
        next(client.trials("other"))
    with pytest.raises(SpecError, match="trains until step 3 now"):
        next(held := client.trials("bowl")).report(99, 0.5)
    held.close()
    with pytest.raises(SpecError, match="budget"):
        client.begin("new", {**BODY, "budget": {"runs": -1}})
    with pytest.raises(SpecError, match="must be the service's address, as http://host:8400"):
        Client("gpu0:8400")
    with pytest.raises(SpecError, match="token must be a text of printable"):
        Client("http://gpu0:8400", token="a\nb")


class Flaky(httpx2.BaseTransport):
    """The way to a service that is broken for a while, or loses every so many answers."""

    def __init__(self, inner, every=10**9):
        self.inner, self.every = inner, every
        self.count, self.broken, self.seen = 0, 0, []

    def handle_request(self, request):
        self.count += 1
        self.seen.append((request.url.path, request.content))
        if self.broken:
            self.broken -= 1
            raise httpx2.ConnectError("connection refused")
        answer = self.inner.handle_request(request)
        if self.count % self.every == 0:
            raise httpx2.ReadError("the answer was dropped")
        return answer


@pytest.fixture
def impatient(monkeypatch):
    """Let calls be made again at once, on a clock that goes on by what they would have waited."""
    passed = [0.0]
    monkeypatch.setattr("autotune.client.wire.time.monotonic", lambda: passed[0])
    monkeypatch.setattr(
        "autotune.client.wire.time.sleep", lambda s: passed.__setitem__(0, passed[0] + s)
    )
    return passed


def test_answers_that_are_dropped_change_nothing(dial, begun, url, serving, tmp_path, impatient):
    flaky = Flaky(begun._transport, every=10)
    train(dial(flaky).trials("bowl", worker="w"))
    other = f"sqlite:///{tmp_path}/other.db"
    whole = serving(other)
    whole.put("/v1/searches/bowl", json=BODY)
    train(Client("http://testserver", transport=whole._transport, states=tmp_path).trials("bowl"))
    assert flaky.count > 30
    assert stored(url) == stored(other)


def test_a_retried_ask_is_the_same_request(dial, begun, impatient):
    flaky = Flaky(begun._transport)
    flaky.broken = 3
    trials = dial(flaky).trials("bowl")
    next(trials)
    asks = [content for path, content in flaky.seen if path.endswith("/leases")]
    assert len(asks) == 4
    assert len(set(asks)) == 1


def test_an_outage_is_ridden_out_and_said_once(dial, begun, impatient, caplog, url):
    flaky = Flaky(begun._transport)
    for trial in dial(flaky).trials("bowl"):
        began, flaky.broken = impatient[0], 25
        assert trial.report(1, 0.5)
        assert impatient[0] - began > 120
        assert stored(url)[0][-1] == [(1, 0.5)]
        break
    assert "does not answer (connection refused); trying again for up to 600" in caplog.text
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 2


def test_pauses_between_calls_grow_and_are_never_in_step(dial, begun, impatient):
    waits = []
    for _ in range(2):
        wire = dial(Flaky(begun._transport))._wire
        waits.append([wire._pause(tries) for tries in range(9)])
    assert all(0.125 <= each[0] <= 0.25 and 5 <= each[8] <= 10 for each in waits)
    assert waits[0] != waits[1]


def test_a_service_that_stays_away_is_one_sentence_and_no_failure_of_the_trial(
    dial, begun, impatient, url
):
    flaky = Flaky(begun._transport)

    def loop():
        for trial in dial(flaky, patience=60).trials("bowl"):
            flaky.broken = 10**6
            with trial:
                trial.report(1, 0.5)

    with pytest.raises(Unavailable, match=r"has not answered for .* start this again when it does"):
        loop()
    assert impatient[0] < 70
    assert stored(url)[0][2] is TrialState.RUNNING


def test_what_is_no_service_is_named(impatient):
    page = httpx2.MockTransport(lambda request: httpx2.Response(200, text="<html>welcome"))
    client = Client("http://gpu0:8400", transport=page)
    with pytest.raises(Exception, match="is not the address of an autotune service: /v1/searches"):
        next(client.trials("bowl"))


def test_the_client_loads_no_torch_and_no_database():
    code = "import sys, autotune.client as c; c.Client('http://h:1'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "httpx2" in loaded
    assert not loaded & {"torch", "sqlalchemy", "pandas", "numpy", "optuna", "pydantic"}
