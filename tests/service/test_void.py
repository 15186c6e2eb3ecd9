"""Trials whose measurements were wrong: void for good, or run again."""

from __future__ import annotations

from autotune.testing.remote import lease, told, train

SEARCH = "/v1/searches/bowl"
TRIALS = f"{SEARCH}/studies/adamw/trials"


def void(client, number, **more):
    return client.post(f"{TRIALS}/{number}:void", json={"reason": "its GPU was broken", **more})


def test_a_void_trial_counts_for_nothing_and_its_worker_hears_so(begun):
    held = lease(begun)
    begun.post(f"{held['url']}/points", json={"points": told(held, 1)})
    kept = void(begun, 0).json()
    assert (kept["state"], kept["reason"]) == ("failed", "void: its GPU was broken")
    assert begun.get(f"{TRIALS}/0").json()["points"] == []
    late = begun.post(f"{held['url']}/points", json={"points": told(held, 3)})
    assert (late.status_code, late.json()["type"]) == (409, "urn:autotune:lease-lost")
    before = begun.get(SEARCH).json()["revision"]
    assert void(begun, 0).json() == kept  # told twice, it is done once
    assert begun.get(SEARCH).json()["revision"] == before
    # Unlike what failed by itself it is not tried again.
    begun.patch(SEARCH, json={"command": "continue"}, headers={"If-Match": "*"})
    assert lease(begun, request="next")["trial"] == 1


def test_a_search_that_is_over_decides_anew_without_a_void_trial(begun):
    train(begun)
    path = f"{SEARCH}/studies/adamw/recommendation"
    best = begun.get(path).json()
    assert best["hyper"] == begun.get(f"{TRIALS}/1").json()["hyper"]
    assert void(begun, 1).status_code == 200
    assert begun.get(SEARCH).json()["state"] == "running"
    assert train(begun).json()["type"] == "urn:autotune:search-over"
    assert begun.get(path).json()["hyper"] == begun.get(f"{TRIALS}/0").json()["hyper"]


def test_a_trial_is_run_again_on_its_seed(begun):
    train(begun)
    found = begun.get(TRIALS).json()["trials"]
    judged = next(one for one in found if one["role"] == "judge")
    refused = void(begun, judged["number"])
    assert refused.status_code == 422
    assert refused.json()["detail"] == (
        f"trial {judged['number']} was run to judge a setting, on a seed that others share, so it "
        'has to be run again: give "again": true'
    )
    assert void(begun, judged["number"], again=True).json()["state"] == "waiting"
    held = lease(begun)
    assert (held["trial"], held["from_step"], held["role"]) == (judged["number"], 0, "judge")
    train(begun)
    assert begun.get(TRIALS).json()["trials"][judged["number"]]["loss"] == judged["loss"]


def test_a_void_trial_can_be_run_again_after_all(begun):
    lease(begun)
    void(begun, 0)
    assert void(begun, 0, again=True).json()["state"] == "waiting"
    assert lease(begun)["trial"] == 0


def test_what_is_no_trial_or_has_no_reason_is_refused(begun):
    assert void(begun, 7).json()["detail"] == "no trial 7 of adamw in search 'bowl'"
    assert begun.post(f"{TRIALS}/0:void", json={}).status_code == 422
    assert begun.get(f"{TRIALS}/0:void").headers["allow"] == "POST"
