"""Trials of workers that cannot pause: a rung says at once, and for good, who goes on."""

from __future__ import annotations

from collections import Counter

import pytest

import autotune
from autotune.client import Client
from autotune.studies.records import Role, TrialState
from autotune.studies.store import Store
from autotune.testing.remote import BODY, LARGER, lease, loss_of, stored, told, train

SEARCH = "/v1/searches/bowl"
FIVE = {**LARGER, "optimizers": ["adamw"], "budget": {"trials": 5}}


@pytest.fixture
def larger(client):
    assert client.put(SEARCH, json=LARGER).status_code == 201
    return client


def points(client, held, *steps):
    given = {"points": told(held, *steps)}
    return client.post(f"{held['url']}/points", json=given)


def whole(client, worker="w", **more):
    return lease(client, worker, can_pause="none", **more)


def by_loop(trials):
    """Train trials of a tuner or a client; return the steps that were taken."""
    taken = 0
    for trial in trials:
        for step in trial.evaluate:
            taken, at = (
                taken + step - max([trial.start, *filter(step.__gt__, trial.evaluate)]),
                step,
            )
            if not trial.report(at, loss_of(trial.hyper, trial.seed, step)):
                break
    return taken


@pytest.fixture
def hand(tmp_path):
    """The same search by ``autotune.Tuner``: what is stored of it, and the steps that it took."""
    url = f"sqlite:///{tmp_path}/hand.db"
    given = {"steps": 27, "trials": 5, "seeds": 2, "name": "bowl", "progress": "off"}
    with autotune.Tuner(FIVE["optimizers"], storage=url, can_pause=False, **given) as tuner:
        return by_loop(tuner), stored(url)


def test_no_step_is_repeated_and_every_face_decides_alike(client, url, hand, serving, tmp_path):
    steps, whole = hand
    client.put(SEARCH, json=FIVE)
    assert train(client, can_pause="none").status_code == 410
    assert stored(url) == whole
    other = f"sqlite:///{tmp_path}/client.db"
    begun = serving(other)
    begun.put(SEARCH, json=FIVE)
    remote = Client(str(begun.base_url), transport=begun._transport, states=tmp_path)
    assert by_loop(remote.trials("bowl", can_pause=False)) == steps
    assert stored(other) == whole
    with Store(url, read_only=True) as store:
        trials = [t for s in store.search("bowl").studies for t in store.trials(s.id)]
    assert sum(trial.step for trial in trials) == steps
    searched = Counter((t.state, t.step) for t in trials if t.role is Role.SEARCH)
    assert {state for state, _ in searched} == {TrialState.COMPLETE, TrialState.STOPPED}
    assert {step for _, step in searched} >= {3, 27}


def test_a_lease_is_for_the_whole_schedule_and_is_told_at_a_rung_to_stop(larger):
    first = whole(larger)
    assert (first["from_step"], first["stop_at"]) == (0, 27)
    assert first["evaluate_at"] == [1, 3, 9, 27]
    assert points(larger, first, 1).json()["command"] == "continue"
    answer = points(larger, first, 3).json()  # the best so far goes on
    assert (answer["command"], answer["stop_at"]) == ("continue", 27)
    worse = next(held for held in iter(lambda: whole(larger, "other", request="x"), None))
    other = {"points": [{"step": s, "loss": 50.0} for s in (1, 3)]}
    while worse["study"] != first["study"]:
        larger.post(f"{worse['url']}/end", json={"outcome": "failed"})
        worse = whole(larger, "other", request=worse["id"])
    answer = larger.post(f"{worse['url']}/points", json=other).json()
    assert (answer["command"], answer["stop_at"]) == ("stop", 3)
    path = f"{SEARCH}/studies/{worse['study']}/trials/{worse['trial']}"
    kept = larger.get(path).json()
    assert (kept["state"], kept["step"], kept["loss"]) == ("stopped", 3, 50.0)
    assert kept["reason"].startswith("at step 3 of 27, where it was not among the best")
    # Told again, and ended either way: nothing changes.
    assert larger.post(f"{worse['url']}/points", json=other).json() == answer
    assert larger.post(f"{worse['url']}/beat").json()["command"] == "stop"
    for outcome in ("reached", "interrupted"):
        ended = larger.post(f"{worse['url']}/end", json={"outcome": outcome})
        assert ended.json() == {"state": "stopped", "step": 3, "loss": 50.0}
    assert larger.get(path).json() == kept


def test_a_rung_is_not_gone_beyond_before_it_is_decided(larger):
    held = whole(larger)
    answer = points(larger, held, 1, 3, 9)
    assert answer.status_code == 422
    assert "is asked at step 3 whether it goes on, got a loss of step 9" in answer.json()["detail"]
    assert points(larger, held, 1, 3).json()["command"] == "continue"
    assert points(larger, held, 9).json()["command"] == "continue"
    ended = larger.post(f"{held['url']}/end", json={"outcome": "reached"})
    assert "has to be measured at step 27" in ended.json()["detail"]


def test_a_trial_that_a_rung_ended_does_not_go_on_in_a_larger_budget(client):
    client.put(SEARCH, json={**BODY, "budget": {"trials": 3}})
    train(client, most=1, can_pause="none")
    held = whole(client)
    bad = {"points": [{"step": step, "loss": 50.0} for step in (1, 3)]}
    assert client.post(f"{held['url']}/points", json=bad).json()["command"] == "stop"
    train(client)
    more = {"budget": {"trials": 4}}
    assert client.patch(SEARCH, json=more, headers={"If-Match": "*"}).status_code == 200
    path = f"{SEARCH}/studies/adamw/trials"
    before = client.get(f"{path}/1").json()
    assert train(client).status_code == 410
    assert client.get(f"{path}/1").json() == before
    found = client.get(path).json()["trials"]
    assert sum(one["role"] == "search" for one in found) == 4


def test_a_worker_that_cannot_pause_tries_new_settings_before_it_repeats_steps(client):
    body = {**LARGER, "optimizers": ["adamw"], "budget": {"trials": 12}}
    client.put(SEARCH, json=body)
    train(client, worker="pauses", most=3)
    held = whole(client, "cannot")
    assert (held["trial"], held["evaluate_at"]) == (3, [1, 3, 9, 27])
    assert lease(client, "pauses")["evaluate_at"] == [9]  # the best of the three goes on


def test_losses_told_at_once_count_until_the_rung_that_ends_the_trial(tmp_path):
    said = []
    given = {"steps": 9, "trials": 3, "seeds": 2, "name": "bowl", "storage": tmp_path / "a.db"}
    tuner = autotune.Tuner(["adamw"], can_pause=False, listen=said.append, **given)
    for loss in (0.5, 50.0):
        trial = tuner.ask()
        tuner.tell(trial, dict.fromkeys(trial.evaluate, loss))
    tuner.close()
    with Store(f"sqlite:///{tmp_path}/a.db", read_only=True) as store:
        first, second = store.trials(1)
    assert (first.state, first.step) == (TrialState.COMPLETE, 9)
    assert (second.state, second.step) == (TrialState.STOPPED, 3)
    texts = [getattr(one, "text", "") for one in said]
    assert sum("was over at step 3, so its losses from step 9 on are not" in t for t in texts) == 1
