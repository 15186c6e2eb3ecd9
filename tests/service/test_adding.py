"""Trials that were measured elsewhere, told to a service: as from Python, once, and void again."""

from __future__ import annotations

import math

import pytest

from autotune import Tuner
from autotune.client import Client
from autotune.errors import AlreadyThere, NotFound, SpecError
from autotune.search.remote import Remote
from autotune.studies.records import Role
from autotune.studies.store import Store
from autotune.testing.remote import lease, refused, train

SEARCH = "/v1/searches/bowl"
TRIALS = f"{SEARCH}/studies/adamw/trials"
GOOD = {"hyper": {"lr": 0.003, "betas": [0.85, 0.99]}, "points": [{"step": 9, "loss": 0.1}]}


def added(url):
    with Store(url) as store:
        (study,) = store.search("bowl").studies
        return [
            (t.number, t.origin, str(t.setting), t.state, t.step, t.loss, store.curve(t.id))
            for t in store.trials(study.id, Role.ADDED)
        ]


def test_it_is_told_once_and_marked_wherever_it_is_read(begun):
    lease(begun)
    first = begun.post(TRIALS, json={**GOOD, "origin": "last week"})
    assert first.status_code == 201
    told = first.json()
    assert (told["number"], told["role"], told["state"]) == (1, "added", "complete")
    assert (told["origin"], told["seed_index"]) == ("added: last week", None)
    before = begun.get(SEARCH).json()
    again = begun.post(TRIALS, json={**GOOD, "origin": "last week"})
    assert (again.status_code, again.json()) == (200, told)
    assert begun.get(SEARCH).json() == before
    assert before["studies"][0]["added"] == 1
    assert before["studies"][0]["counts"] == {"running": 1}
    assert begun.get(f"{TRIALS}/1").json()["points"][0]["loss"] == 0.1
    assert [one["role"] for one in begun.get(TRIALS).json()["trials"]] == ["search", "added"]
    events = begun.get(f"{SEARCH}/events?seconds=0.1").text
    assert '"role":"added"' in events


def test_every_face_stores_the_same(begun, url, way, tmp_path):
    assert begun.post(TRIALS, json=GOOD).json()["number"] == 1
    lost = {"hyper": {}, "points": [{"step": 3}], "diverged": True, "warmup": 0.2}
    assert begun.post(TRIALS, json=lost).json()["state"] == "diverged"
    other = f"sqlite:///{tmp_path}/tuner.db"
    own = {"name": "bowl", "storage": other, "progress": "off", "trials": 2, "seeds": 2}
    calls = [(("adamw", GOOD["hyper"], {9: 0.1}), None), (("adamw", {}, {3: math.nan}), 0.2)]
    with Tuner(["adamw"], steps=9, **own) as tuner:
        for words, warmup in calls:
            tuner.add_trial(*words, warmup=warmup)
    with Client("http://service", transport=way) as client:  # told again
        numbers = [client.add_trial("bowl", *words, warmup=warmup) for words, warmup in calls]
    assert numbers == [1, 2]
    assert added(other) == added(url) != []


def test_a_client_hears_the_services_own_sentence(begun, way):
    with Client("http://service", transport=way) as client:
        with pytest.raises(SpecError, match="outside the space of this search"):
            client.add_trial("bowl", "adamw", {"lr": 5.0}, {9: 1.0})
        with pytest.raises(NotFound):
            client.add_trial("bowl", "adan", {}, {9: 1.0})
        train(begun)
        with pytest.raises(AlreadyThere, match="'bowl' is over, so nothing would learn"):
            client.add_trial("bowl", "adamw", {}, {9: 1.0})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({**GOOD, "points": []}, "points"),
        (
            {**GOOD, "points": [{"step": 9}]},
            "diverged must be true where the last point has no loss",
        ),
        ({**GOOD, "diverged": True}, "diverged must be false where the last point has a loss"),
        ({**GOOD, "points": [{"step": 27, "loss": 1.0}]}, "a full run of this search, got step 27"),
        ({**GOOD, "hyper": {"lr": "x"}}, "the adamw trial to add (measured elsewhere): "),
        ({**GOOD, "warmup": 1.0}, "warmup"),
        ({**GOOD, "origin": ""}, "origin"),
    ],
)
def test_what_cannot_be_is_refused_and_not_stored(body, sentence, begun, url):
    assert sentence in refused(begun.post(TRIALS, json=body), 422, "invalid")
    assert added(url) == []


def test_samplers_forget_it_when_it_is_void(begun):
    begun.post(TRIALS, json=GOOD)
    why = {"reason": "another data set"}
    sentence = refused(begun.post(f"{TRIALS}/1:void", json={**why, "again": True}), 422, "invalid")
    assert sentence == (
        "trial 1 was measured elsewhere, so it cannot be run again here; leave 'again' out"
    )
    train(begun)
    kept = begun.post(f"{TRIALS}/1:void", json=why).json()
    assert (kept["state"], kept["reason"]) == ("failed", "void: another data set")
    assert begun.get(SEARCH).json()["state"] == "complete"  # it decided nothing
    assert begun.post(f"{TRIALS}/1:void", json=why).json() == kept


def test_it_is_to_be_sent_again_while_another_server_decides(begun, monkeypatch):
    monkeypatch.setattr(Remote, "add", lambda self, measured: None)
    answer = begun.post(TRIALS, json=GOOD)
    assert (answer.status_code, answer.json()["retry"]) == (503, "now")
