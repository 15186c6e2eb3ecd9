"""What workers and their machines do wrong: each time the right status and one sentence."""

from __future__ import annotations

import json
import math

import httpx2
import pytest

from autotune.client import Client
from autotune.client.faults import Refused
from autotune.errors import AlreadyThere, LeaseLost, NotFound, SpecError
from autotune.testing.remote import BODY, lease, refused, told


def test_ten_megabytes_of_points_are_refused_while_they_come(listening):
    with httpx2.Client(base_url=f"http://127.0.0.1:{listening}", timeout=60) as client:
        client.put("/v1/searches/bowl", json=BODY)
        held = lease(client)
        path, kind = f"{held['url']}/points", {"Content-Type": "application/json"}
        large = b'{"points": [' + b'{"step": 1, "loss": 1.0},' * 420_000 + b"]}"
        assert len(large) > 10_000_000
        for content in (large, (large[at : at + 65536] for at in range(0, len(large), 65536))):
            answer = client.post(path, content=content, headers=kind)
            said = refused(answer, 413, "content-too-large")
            assert said == "the body is larger than 1 MB; send fewer points in one call"
        many = [{"step": step, "loss": 1.0} for step in range(1, 10_002)]
        said = refused(client.post(path, json={"points": many}), 422, "invalid")
        assert said.startswith("points must be at most 10000 in one call, got 10001; tell the rest")
        assert client.post(f"{held['url']}/beat").status_code == 200


def test_a_sentence_holds_the_beginning_of_what_cannot_be_used(client):
    answer = client.put("/v1/searches/x", json={**BODY, "sampler": ["s" * 99] * 99})
    assert len(refused(answer, 422, "invalid")) < 300


def test_what_a_body_cannot_be_is_said_in_the_words_of_this_package(client):
    def said(**keys):
        return refused(client.put("/v1/searches/x", json={**BODY, **keys}), 422, "invalid")

    body = json.dumps({**BODY, "budget": {"minutes": math.nan}})
    kind = {"Content-Type": "application/json"}
    answer = client.put("/v1/searches/x", content=body, headers=kind)
    assert refused(answer, 422, "invalid") == "budget.minutes must be finite, got nan"
    assert said(seeds=2**31) == "seeds must be at most 2147483647, got 2147483648"
    deep = client.put("/v1/searches/x", content=b"[" * 200_000, headers=kind)
    assert refused(deep, 400, "bad-request").startswith("the body cannot be read as JSON: send an")


def test_a_misspelt_form_of_an_export_is_told_before_anything_is_judged(begun):
    answer = begun.get("/v1/searches/bowl/studies/adamw/export?format=ymal")
    assert refused(answer, 422, "invalid").startswith("unknown export 'ymal'; did you mean 'yaml'?")


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [("1.9", 404, "not-found"), ("9.1", 404, "not-found"), ("1", 422, "invalid"),
     ("1.1.1", 422, "invalid"), ("-1.1", 422, "invalid"), ("9999999999.1", 404, "not-found")],
)  # fmt: skip
def test_a_lease_that_never_was_is_refused(begun, text, status, kind):
    lease(begun)
    for verb, body in (("beat", {}), ("points", {"points": []}), ("end", {"outcome": "reached"})):
        refused(begun.post(f"/v1/leases/{text}/{verb}", json=body), status, kind)


def test_a_trial_is_not_reached_at_a_step_before_the_last_one_measured(begun):
    held = lease(begun)
    points = told(held)
    assert begun.post(f"{held['url']}/points", json={"points": points}).status_code == 200
    less = {"outcome": "reached", "step": points[0]["step"]}
    refused(begun.post(f"{held['url']}/end", json=less), 422, "invalid")
    back = {"points": points[:1]}  # what came again is stored already
    assert begun.post(f"{held['url']}/points", json=back).status_code == 200
    other = {"points": [{"step": 2, "loss": 1.0}]}
    said = refused(begun.post(f"{held['url']}/points", json=other), 422, "invalid")
    assert "steps of losses have to rise: step 3 was the last one measured, got step 2" in said


@pytest.mark.parametrize(
    "model", ["train.py:problem", "/tmp/x.py", "../train.py:f", "net.py:", "a b.py:make"]
)
def test_a_model_is_never_taken_as_code(client, model):
    task = {"external": {**BODY["task"]["external"], "model": model}}
    answer = client.put("/v1/searches/code", json={**BODY, "task": task})
    assert "a model is code and is never taken over HTTP" in refused(answer, 422, "invalid")
    answer = client.put("/v1/searches/code", json={**BODY, "task": {"model": model}})
    refused(answer, 422, "invalid")
    assert client.get("/v1/searches").json()["searches"] == []


@pytest.mark.parametrize(
    ("agent", "told_so"),
    [("autotune-client/99.1", True), ("autotune-client/0.0.1", False), ("curl/8", False),
     ("autotune-client/999999999999999999999.1", True)],
)  # fmt: skip
def test_a_client_that_is_newer_is_told_which_of_the_two_to_upgrade(begun, agent, told_so):
    head = {"User-Agent": agent}
    for answer, status, kind in (
        (begun.put("/v1/searches/x", json={**BODY, "new": 1}, headers=head), 422, "invalid"),
        (begun.get("/v1/searches/bowl/forecast", headers=head), 404, "not-found"),
        (begun.post("/v1/searches/bowl", headers=head), 405, "method-not-allowed"),
    ):
        assert ("upgrade the service" in refused(answer, status, kind)) == told_so


def test_the_client_raises_the_librarys_own_errors_with_the_same_sentences(listening):
    with Client(f"http://127.0.0.1:{listening}") as client:
        client.begin("bowl", BODY)
        with pytest.raises(AlreadyThere, match="differs in seeds"):
            client.begin("bowl", {**BODY, "seeds": 5})
        with pytest.raises(SpecError, match="unknown key 'new'"):
            client.begin("other", {**BODY, "new": 1})
        with pytest.raises(NotFound, match="no search 'bowls'"):
            client.search("bowls")
        held = client._wire.call("POST", "/v1/searches/bowl/leases", {"worker": "w"}).body
        url = held["leases"][0]["url"]
        client._wire.call("POST", f"{url}/end", {"outcome": "interrupted"})
        with pytest.raises(LeaseLost, match="is over"):
            client._wire.call("POST", f"{url}/beat")
        with pytest.raises(Refused, match="If-Match"):
            client._wire.call("DELETE", "/v1/searches/bowl")
