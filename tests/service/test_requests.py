"""Requests that are wrong in any way get the right status and one sentence."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from autotune.config import allowed_hosts
from autotune.errors import AlreadyThere, SpecError, Unavailable
from autotune.service import app
from autotune.service.limits import LARGEST, Hosts
from autotune.service.server import address
from autotune.studies.store import Store
from autotune.testing.remote import BODY, lease, train


def put(client, name="other", **changes):
    return client.put(f"/v1/searches/{name}", json={**BODY, **changes})


def external(**changes):
    return {"external": {**BODY["task"]["external"], **changes}}


def refused(answer, status):
    """Return the sentence of a problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["retry"] in {"now", "after", "no"}
    assert "\n" not in body["detail"]
    return body["detail"]


def earlier(**changes):
    return {"try_first": [{"optimizer": "adamw", "hyper": {"lr": 4e-3}, **changes}]}


def test_settings_known_from_elsewhere_are_tried_first(client):
    given = earlier(origin="sweep 7", value=0.25)
    assert put(client, "bowl", **given).status_code == 201
    assert put(client, "bowl", **given).status_code == 200
    assert "differs in try_first" in refused(put(client, "bowl"), 409)
    tried = [lease(client, f"w{place}") for place in range(2)][1]
    assert (tried["trial"], tried["hyper"]["lr"]) == (1, 4e-3)
    path = "/v1/searches/bowl/studies/adamw/trials/1"
    assert client.get(path).json()["origin"] == "imported: sweep 7"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"task": external(model="train.py:problem")}, "a model is code and is never taken over"),
        ({"task": external(steps=0)}, "task.external.steps must be at least 1, got 0"),
        ({"optimizers": ["adman"]}, "unknown optimizer 'adman'; did you mean"),
        ({"budget": {"runs": 1}}, "budget.runs must be at least 10"),
        ({"budget": {"runs": True}}, "budget.runs must be a number, got true"),
        ({"space": {"lr": {"low": 2, "high": 1}}}, "space.lr: low must be below high"),
        ({"rungs": [1, 2]}, "unknown key 'rungs'"),
        (earlier(optimizer="adan"), "is a setting of adan, which is not searched"),
        (earlier(hyper={"momentum": 0.9}), "unknown argument 'momentum'"),
        (earlier(hyper={"lr": -1}), "lr must be"),
    ],
    ids=["code", "steps", "optimizer", "runs", "bool", "space", "key", "other", "argument", "lr"],
)
def test_a_search_that_cannot_be_is_refused_and_not_stored(body, sentence, client):
    assert sentence in refused(put(client, **body), 422)
    assert client.get("/v1/searches").json()["searches"] == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (earlier(optimizer="adan"), "is a setting of adan, which is not searched"),
        (earlier(hyper={"momentum": 0.9}), "unknown argument 'momentum'"),
        (
            {"space": {"controller": "agvm", "controller_keep": 7}},
            "controller 'agvm' cannot",
        ),
    ],
    ids=["other", "argument", "controller"],
)
def test_a_task_that_is_installed_is_checked_as_any_other(body, sentence, client):
    assert sentence in refused(put(client, task={"registered": {"model": "mlp"}}, **body), 422)
    assert client.get("/v1/searches").json()["searches"] == []


def test_the_same_search_is_stated_again_and_another_one_is_refused(begun):
    assert put(begun, "bowl").status_code == 200
    answer = put(begun, "bowl", seeds=3, task=external(steps=27))
    assert "differs in steps, seeds" in refused(answer, 409)
    assert answer.json()["differs"] == ["steps", "seeds"]
    new = {"If-None-Match": "*"}
    assert refused(begun.put("/v1/searches/bowl", json=BODY, headers=new), 412)


def test_a_change_has_to_name_what_it_is_meant_for(begun):
    tag = begun.get("/v1/searches/bowl").headers["etag"]
    stop = {"command": "stop"}
    assert "If-Match" in refused(begun.patch("/v1/searches/bowl", json=stop), 428)
    assert refused(begun.delete("/v1/searches/bowl"), 428)
    match = {"If-Match": tag}
    changed = begun.patch("/v1/searches/bowl", json=stop, headers=match)
    assert changed.headers["etag"] != tag
    assert "has changed since" in refused(begun.delete("/v1/searches/bowl", headers=match), 412)


def test_a_search_that_is_run_is_not_deleted(begun):
    held = lease(begun)
    gone = {"If-Match": "*"}
    assert "is being run by w" in refused(begun.delete("/v1/searches/bowl", headers=gone), 409)
    begun.post(f"{held['url']}/end", json={"outcome": "interrupted"})
    assert begun.delete("/v1/searches/bowl", headers=gone).status_code == 204
    assert refused(begun.get("/v1/searches/bowl"), 404)
    assert refused(begun.post(f"{held['url']}/beat"), 404)
    assert put(begun, "bowl").status_code == 201
    assert lease(begun)["trial"] == 0


def test_paths_methods_and_bodies_are_refused_in_the_same_form(begun):
    assert "no resource /v2" in refused(begun.get("/v2"), 404)
    answer = begun.post("/v1/searches/bowl", json={})
    assert "does not know POST" in refused(answer, 405)
    assert answer.headers["allow"] == "DELETE, GET, PATCH, PUT"
    json = {"Content-Type": "application/json"}
    broken = begun.put("/v1/searches/x", content="{", headers=json)
    assert refused(broken, 422).endswith(" at character 1")
    assert broken.json()["errors"][0]["pointer"] == ""
    assert "after" in refused(begun.get("/v1/searches?after=%00"), 422)
    large = b" " * (LARGEST + 1)
    assert "1 MB" in refused(begun.put("/v1/searches/x", content=large, headers=json), 413)
    pieces = (large[: LARGEST // 2] for _ in range(3))
    assert "1 MB" in refused(begun.put("/v1/searches/x", content=pieces, headers=json), 413)
    many = [{"step": 1, "loss": 1.0}] * 10_001
    answer = begun.post("/v1/leases/1.1/points", json={"points": many})
    assert "10000" in refused(answer, 422)


def test_nothing_is_asked_of_a_search_that_trains_by_itself(client, url):
    with Store(url) as store:
        spec = {"model": "mlp", "name": "own"}
        store.create_search("own", spec, {"model": "mlp", "steps": 9}, {"adan": {}}, {})
    answer = client.post("/v1/searches/own/leases", json={"worker": "w"})
    assert "trains model 'mlp' by itself" in refused(answer, 422)
    assert client.get("/v1/searches/own").json()["studies"][0]["optimizer"] == "adan"


def test_what_was_not_judged_yet_is_not_recommended(begun):
    study = "/v1/searches/bowl/studies/adamw"
    assert "was not judged" in refused(begun.get(f"{study}/recommendation"), 409)
    assert refused(begun.get(f"{study}/export"), 409)
    assert refused(begun.get("/v1/searches/bowl/studies/adan/recommendation"), 404)
    assert refused(begun.get(f"{study}/trials/7"), 404)
    train(begun)
    assert begun.get(f"{study}/recommendation").json()["complete"]
    assert "lr:" in begun.get(f"{study}/export?format=yaml").text
    assert "unknown" in refused(begun.get(f"{study}/export?format=timn"), 422)


def test_pages_list_everything_once(begun):
    for name in "abc":
        put(begun, name)
    seen, path = [], "/v1/searches?limit=2"
    while path:
        page = begun.get(path).json()
        seen += [one["name"] for one in page["searches"]]
        path = page["next"]
    assert seen == ["c", "b", "a", "bowl"]
    train(begun, most=3)
    seen, path = [], "/v1/searches/bowl/studies/adamw/trials?limit=1"
    while path:
        page = begun.get(path).json()
        seen += [one["number"] for one in page["trials"]]
        path = page["next"]
    assert seen == [0, 1]


def test_a_database_that_is_away_is_asked_for_again_later(begun, monkeypatch):
    def away(*_, **__):
        raise Unavailable("storage postgresql://server refused: it restarts")

    assert begun.get("/readyz").json() == {"status": "ok"}
    monkeypatch.setattr(Store, "reading", away)
    monkeypatch.setattr(Store, "signature", away)
    answer = begun.post("/v1/searches/bowl/leases", json={"worker": "w"})
    assert "it restarts" in refused(answer, 503)
    assert answer.json()["retry"] == "after"
    assert int(answer.headers["retry-after"]) > 0
    assert begun.get("/readyz").status_code == 503
    assert begun.get("/healthz").status_code == 200


def test_a_fault_of_the_service_is_told_without_its_details(url, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("secret")

    with TestClient(app(url), raise_server_exceptions=False) as client:
        monkeypatch.setattr(Store, "searches", broken)
        assert "secret" not in refused(client.get("/v1/searches"), 500)


def test_an_sqlite_file_has_one_server(client, url):
    with pytest.raises(AlreadyThere, match="one server at a time"):
        app(url)


def test_the_application_is_mounted_in_another_one(url):
    outer = FastAPI()
    outer.mount("/tuning", app(url))
    with TestClient(outer) as client:
        assert client.put("/tuning/v1/searches/bowl", json=BODY).status_code == 201
        answer = client.post("/tuning/v1/searches/bowl/leases", json={"worker": "w"})
        held = answer.json()["leases"][0]
        assert held["url"].startswith("/tuning/v1/leases/")
        assert client.post(f"{held['url']}/beat").status_code == 200


def test_a_server_that_ends_takes_no_new_asks_and_finishes_what_it_has(begun):
    held = lease(begun)
    begun.app.state.service.draining = True
    answer = begun.post("/v1/searches/bowl/leases", json={"worker": "other"})
    assert "is being stopped" in refused(answer, 503)
    assert begun.get("/readyz").json() == {"status": "draining"}
    assert begun.post(f"{held['url']}/end", json={"outcome": "interrupted"}).status_code == 200


@pytest.mark.parametrize("text", ["0.0.0.0:8400", "gpu7:1", "[::]:8400", "x", "127.0.0.1:99999"])
def test_only_this_machine_may_connect(text):
    with pytest.raises(SpecError, match="--listen must be"):
        address(text)


def test_every_route_documents_its_problems(client):
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in str(document)
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            if path.startswith("/v1"):
                assert {"400", "422", "500", "503"} <= set(route["responses"]), (path, method)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8400", 200),
        ("127.0.0.1", 200),
        ("LOCALHOST.", 200),
        ("a.lab.example:8400", 200),
        ("lab.example", 421),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_a_server_answers_only_for_hosts_that_it_is_known_by(url, monkeypatch, host, status):
    monkeypatch.setenv("AUTOTUNE_ALLOWED_HOSTS", "*.lab.example")
    served = Hosts(app(url), allowed_hosts("127.0.0.1"))
    with TestClient(served) as client:
        answer = client.get("/healthz", headers={"host": host})

    assert answer.status_code == status
    if status == 421:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] == (
            f"host must be one that this server is known by, got '{host}'; name it in "
            "AUTOTUNE_ALLOWED_HOSTS where the server is started"
        )
