"""Leases over HTTP: who holds a trial, for how long, and what becomes of late and lost workers."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from autotune.service import asking, core
from autotune.testing.remote import lease, refused, told, train


def ask(client, worker="w", **more):
    asked = {"worker": worker, "can_pause": "checkpoint", **more}
    return client.post("/v1/searches/bowl/leases", json=asked)


def points(client, held, *given, **more):
    return client.post(f"{held['url']}/points", json={"points": list(given), **more})


def end(client, held, outcome="reached", **more):
    return client.post(f"{held['url']}/end", json={"outcome": outcome, **more})


def trial(client, held):
    path = f"/v1/searches/{held['search']}/studies/{held['study']}/trials/{held['trial']}"
    return client.get(path).json()


def test_a_lease_says_all_that_a_worker_needs(begun):
    held = lease(begun)
    assert held["flat"]["beta1"] == held["hyper"]["betas"][0]
    assert (held["from_step"], held["stop_at"], held["evaluate_at"]) == (0, 3, [1, 3])
    assert held["schedule"]["steps"] == 9
    assert held["state"] is None
    assert held["beat_every"] < held["expires_in"]


def test_the_same_request_is_answered_with_the_same_leases(begun):
    first = ask(begun, request="one", count=2).json()
    assert len(first["leases"]) == 2
    again = ask(begun, request="one", count=2).json()
    plain = [{**one, "expires_in": None} for one in first["leases"]]
    assert [{**one, "expires_in": None} for one in again["leases"]] == plain
    for held in first["leases"]:
        points(begun, held, *told(held))
        end(begun, held)
    assert "ask by another one" in refused(ask(begun, request="one"), 409, "request-spent")


def test_an_ask_whose_caller_has_gone_gives_no_trial_away():
    begun, held = [], threading.Event()

    class Gone:
        async def is_disconnected(self):
            return True

    async def ask():
        with ThreadPoolExecutor(1) as threads:
            threads.submit(held.wait)  # another decision
            waits = asyncio.get_running_loop().run_in_executor(threads, begun.append, 1)
            try:
                return await asking.heard(Gone(), waiting(waits))
            finally:
                held.set()

    async def waiting(decision):
        return await decision

    assert (asyncio.run(ask()), begun) == (None, [])


def test_a_worker_that_asks_anew_gets_its_trial_back_where_it_was_saved(begun):
    held = lease(begun)
    state = {"uri": "file:///scratch/0.pt", "step": 2, "sha256": "0" * 64}
    assert points(begun, held, told(held)[0], state=state).status_code == 200
    again = lease(begun, request="new")
    assert (again["trial"], again["attempt"]) == (held["trial"], 2)
    assert (again["from_step"], again["evaluate_at"]) == (2, [3])
    assert again["state"] == state
    sentence = refused(points(begun, held, told(held)[1]), 409, "lease-lost")
    assert "attempt 2 took its place" in sentence
    assert trial(begun, held)["step"] == 2
    again = lease(begun, request="third", can_pause="memory")
    assert again["from_step"] == 0  # it cannot load states


def test_a_state_that_cannot_be_read_is_given_to_nobody_again(begun):
    held = lease(begun)
    points(begun, held, told(held)[0], state={"uri": "s3://x", "step": 1})
    assert points(begun, held, state="missing").status_code == 200
    assert lease(begun, request="new")["state"] is None


def test_a_silent_worker_loses_its_trial_and_may_not_report_it(begun, monkeypatch):
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.1")
    held = lease(begun, "silent")
    time.sleep(0.15)
    monkeypatch.delenv("AUTOTUNE_LEASE")
    other = lease(begun, "other")
    assert (other["trial"], other["attempt"]) == (held["trial"], 2)
    assert "attempt 2 took its place" in refused(points(begun, held), 409, "lease-lost")
    assert refused(end(begun, held), 409, "lease-lost")
    assert refused(begun.post(f"{held['url']}/beat"), 409, "lease-lost")


def test_a_worker_that_was_away_goes_on_where_nobody_took_its_trial(begun, monkeypatch):
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.1")
    held = lease(begun)
    time.sleep(0.15)
    assert points(begun, held, *told(held)).json()["command"] == "pause"
    time.sleep(0.15)
    assert end(begun, held).json()["state"] == "paused"


def test_a_sign_of_life_keeps_a_lease(begun, monkeypatch):
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.6")
    held = lease(begun)
    for _ in range(4):
        time.sleep(0.2)
        assert begun.post(f"{held['url']}/beat").json()["command"] == "continue"
    assert lease(begun, "other")["trial"] != held["trial"]


def test_an_interrupted_trial_is_nobodys_fault(begun):
    for count in range(5):
        held = lease(begun, request=f"r{count}")
        assert (held["trial"], held["attempt"]) == (0, count + 1)
        assert end(begun, held, "interrupted", reason="SIGTERM").status_code == 200
        assert end(begun, held, "interrupted").json()["state"] == "waiting"


def test_a_trial_that_is_lost_three_times_is_given_up(begun):
    for count in range(3):
        assert lease(begun, request=f"r{count}")["trial"] == 0
    assert lease(begun, request="last")["trial"] == 1
    assert begun.get("/v1/searches/bowl/studies/adamw/trials/0").json()["state"] == "failed"


def test_a_lease_is_ended_once(begun):
    held = lease(begun)
    points(begun, held, *told(held))
    assert end(begun, held).json() == end(begun, held).json()
    sentence = refused(end(begun, held, "diverged"), 409, "conflict")
    assert "was ended as reached, got diverged" in sentence


def test_a_measurement_that_comes_twice_is_stored_once(begun):
    held = lease(begun)
    for _ in range(2):
        assert points(begun, held, *told(held)).json()["command"] == "pause"
    assert [one["step"] for one in trial(begun, held)["points"]] == [1, 3]


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ((9,), "trains until step 3 now (stop_at), got a loss of step 9"),
        ((3,), "has to be measured at step 1 as well"),
        ((1, 3, 2), "steps of losses have to rise: step 3 was the last one measured, got step 2"),
    ],
    ids=["beyond", "left out", "backwards"],
)
def test_measurements_that_cannot_be_are_refused_and_not_stored(steps, sentence, begun):
    held = lease(begun)
    assert sentence in refused(points(begun, held, *told(held, *steps)), 422, "invalid")
    assert trial(begun, held)["points"] == []


def test_a_loss_that_is_not_finite_is_refused_with_the_way_out(begun):
    held = lease(begun)
    text = '{"points": [{"step": 1, "loss": NaN}]}'
    header = {"Content-Type": "application/json"}
    answer = begun.post(f"{held['url']}/points", content=text, headers=header)
    assert "end the lease with the outcome 'diverged'" in refused(answer, 422, "invalid")
    assert answer.json()["errors"][0]["pointer"] == "/points/0/loss"
    assert end(begun, held, "diverged", step=1, reason="loss became nan").json()["loss"] is None
    assert trial(begun, held)["reason"] == "loss became nan"


def test_a_lease_that_was_not_measured_to_its_end_is_not_reached(begun):
    held = lease(begun)
    assert "has to be measured at steps 1, 3" in refused(end(begun, held), 422, "invalid")
    assert "has to train until step 3" in refused(end(begun, held, step=1), 422, "invalid")


def test_a_worker_that_has_to_wait_is_told_why_and_how_long(begun):
    held = ask(begun, count=2).json()["leases"]
    waiting = ask(begun, "other")
    assert waiting.status_code == 204
    assert waiting.headers["autotune-reason"] == "waiting-for-others"
    assert int(waiting.headers["retry-after"]) > 0
    answers = []
    patient = {"json": {"worker": "other"}, "headers": {"Prefer": "wait=20"}}
    asking = threading.Thread(
        target=lambda: answers.append(begun.post("/v1/searches/bowl/leases", **patient))
    )
    asking.start()
    for one in held:
        points(begun, one, *told(one))
        end(begun, one)
    asking.join(20)
    assert answers[0].status_code == 200


def test_workers_hear_to_pause_and_to_stop(begun):
    held = lease(begun)
    any_ = {"If-Match": "*"}
    assert begun.patch("/v1/searches/bowl", json={"command": "pause"}, headers=any_).is_success
    assert points(begun, held, told(held)[0]).json()["command"] == "save-and-leave"
    assert end(begun, held, "interrupted").status_code == 200
    assert ask(begun).headers["autotune-reason"] == "search-paused"
    begun.patch("/v1/searches/bowl", json={"command": "stop"}, headers=any_)
    assert "was told to stop" in refused(ask(begun), 410, "search-stopped")
    assert begun.get("/v1/searches/bowl").json()["state"] == "interrupted"
    begun.patch("/v1/searches/bowl", json={"command": "continue"}, headers=any_)
    assert lease(begun)["trial"] == held["trial"]
    assert begun.get("/v1/searches/bowl").json()["state"] == "running"


def test_the_time_of_a_search_runs_while_its_workers_are_heard_of(begun, monkeypatch):
    monkeypatch.setattr(core, "COUNTED_EVERY", 0.0)
    seconds = lambda: begun.get("/v1/searches/bowl").json()["seconds"]  # noqa: E731
    held = lease(begun)
    before = seconds()
    time.sleep(0.1)
    begun.post(f"{held['url']}/beat")
    assert seconds() >= before + 0.1
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.1")
    before = seconds()
    time.sleep(0.3)  # longer than a lease: nobody was there
    lease(begun, request="later")
    assert seconds() < before + 0.2


def test_a_worker_has_to_leave_when_the_minutes_are_over(begun):
    late = {"budget": {"minutes": 1e-6}}
    held = lease(begun)
    begun.patch("/v1/searches/bowl", json=late, headers={"If-Match": "*"})
    time.sleep(0.01)
    begun.post(f"{held['url']}/beat")
    assert points(begun, held, told(held)[0]).json()["command"] == "save-and-leave"


def test_what_failed_is_tried_again_when_the_search_is_told_to_continue(begun):
    held = lease(begun)
    end(begun, held, "failed", reason="no disk")
    assert lease(begun, request="x")["trial"] == 1
    begun.patch("/v1/searches/bowl", json={"command": "continue"}, headers={"If-Match": "*"})
    assert lease(begun, "other")["trial"] == 0


def test_a_larger_budget_goes_on_with_a_search_that_is_over(begun):
    train(begun)
    more = {"budget": {"trials": 4}}
    assert begun.patch("/v1/searches/bowl", json=more, headers={"If-Match": "*"}).is_success
    assert train(begun).status_code == 410
    found = begun.get("/v1/searches/bowl/studies/adamw/trials?limit=1000").json()["trials"]
    assert sum(one["role"] == "search" for one in found) == 4
