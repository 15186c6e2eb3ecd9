"""Who may call what: tokens, their scopes, their ends, and what an answer says of them."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from autotune.client import Client
from autotune.client.faults import Refused
from autotune.errors import SpecError
from autotune.service import app, guard
from autotune.service.application import build
from autotune.service.caller import Caller
from autotune.service.server import Options, certified, serve
from autotune.studies import attempts, tokens
from autotune.studies.models import Token
from autotune.studies.store import Store
from autotune.studies.tokens import Scope
from autotune.testing.remote import BODY, lease

SEARCH = "/v1/searches/bowl"
ANY = {"If-Match": "*"}


@pytest.fixture
def store(url):
    with Store(url) as store:
        yield store


@pytest.fixture
def known(client, store):
    """Give a client the header of a new token; no other may call without one any more."""

    def give(scope, **more):
        made, text = tokens.create(store, "t", Scope(scope), **more)
        client.headers["Authorization"] = f"Bearer {text}"
        return made

    return give


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The first token is noticed by the next request."""
    monkeypatch.setattr(guard, "LOOK", 0.0)


def refused(answer, status, kind):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:autotune:{kind}"
    assert answer.json()["retry"] == ("after" if status == 429 else "no")
    if status == 401:
        assert answer.headers["www-authenticate"].startswith('Bearer realm="autotune"')
    return answer.json()["detail"]


def test_without_any_token_this_machine_may_call_and_from_the_first_on_nobody_without(begun, store):
    assert begun.get(SEARCH).status_code == 200
    made, _ = tokens.create(store, "first", Scope.READ)
    assert "Authorization: Bearer" in refused(begun.get(SEARCH), 401, "token-missing")
    tokens.revoke(store, made.id)
    refused(begun.get(SEARCH), 401, "token-missing")
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert begun.get(path).status_code == 200
        assert begun.post(path).status_code == 405
    refused(begun.get("/v2"), 401, "token-missing")


@pytest.mark.parametrize(
    ("scope", "may"),
    [("read", {"look"}), ("work", {"look", "work"}), ("admin", {"look", "work", "admin"})],
)
def test_a_scope_is_good_for_what_it_says_and_for_less(begun, known, scope, may):
    held = lease(begun)
    known(scope)
    calls = [
        ("look", lambda: begun.get(SEARCH), 200),
        ("look", lambda: begun.get("/v1"), 200),
        ("work", lambda: begun.post("/v1/searches:validate", json=BODY), 200),
        ("work", lambda: begun.put(SEARCH, json=BODY), 200),
        ("work", lambda: begun.post(f"{held['url']}/beat"), 200),
        ("work", lambda: begun.post(f"{held['url']}/end", json={"outcome": "failed"}), 200),
        ("admin", lambda: begun.get("/v1/tokens"), 200),
        ("admin", lambda: begun.patch(SEARCH, json={"seeds": 3}, headers=ANY), 200),
        ("admin", lambda: begun.delete(SEARCH, headers=ANY), 204),
    ]
    for needed, call, status in calls:
        answer = call()
        if needed in may:
            assert answer.status_code == status, answer.text
        else:
            said = refused(answer, 403, "scope-too-small")
            assert said == f"this needs a token of scope {needed}, this one's is {scope}"
            assert f'scope="{needed}"' in answer.headers["www-authenticate"]


def test_every_route_that_looks_is_for_readers_and_any_other_has_to_be_named(client):
    names = {route.name for route in client.app.state.routes}
    assert names | {"openapi"} >= guard.OPEN | guard.WORK | guard.READ
    left = names - guard.OPEN - guard.WORK - guard.READ
    assert left == {"patch", "delete", "void", "token_list", "token_create", "token_revoke"}
    assert guard.needs(Caller(route="/v1/new", name="new")) is Scope.ADMIN


def test_a_token_that_is_over_says_why(begun, known, store):
    made = known("work")
    assert begun.get(SEARCH).status_code == 200
    with store.writing() as connection:
        over = attempts.now(connection) - timedelta(seconds=1)
        connection.execute(update(Token).values(expires=over))
    answer = begun.get(SEARCH)
    assert "has expired" in refused(answer, 401, "token-expired")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    tokens.revoke(store, made.id)
    assert "was revoked" in refused(begun.get(SEARCH), 401, "token-revoked")


@pytest.mark.parametrize(
    "text",
    ["Bearer x", "Bearer", "Basic YTpi", "Bearer autotune_1_" + "A" * 43, "Bearer autotune_9_x",
     "Bearer autotune_999999999_" + "A" * 43, "bearer  autotune_1_\xe9"],
)  # fmt: skip
def test_what_is_no_token_of_this_service_is_not_taken(begun, known, text):
    known("work")
    answer = begun.get(SEARCH, headers={"Authorization": text.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.json()["type"].rpartition(":")[2] in {"token-unknown", "token-missing"}


def test_a_wrong_token_is_not_told_that_the_right_one_is_over(begun, known, store):
    made = known("work")
    tokens.revoke(store, made.id)
    wrong = {"Authorization": f"Bearer autotune_{made.id}_{'A' * 43}"}
    refused(begun.get(SEARCH, headers=wrong), 401, "token-unknown")


def test_a_token_of_one_search_is_good_for_no_other(begun, known):
    begun.put("/v1/searches/secret", json=BODY)
    other = lease(begun, search="secret")
    mine = lease(begun)
    known("admin", search="bowl")
    assert begun.get(SEARCH).status_code == 200
    assert begun.get(f"{SEARCH}/studies/adamw/trials").status_code == 200
    assert begun.post(f"{mine['url']}/beat").status_code == 200
    assert begun.get("/v1").status_code == 200
    for path in ("/v1/searches", "/v1/searches/secret", "/v1/tokens", "/v1/searches/none"):
        said = refused(begun.get(path), 403, "another-search")
        assert said == "this token is for search 'bowl' only"
    refused(begun.post(f"{other['url']}/beat"), 403, "another-search")
    refused(begun.post("/v1/tokens", json={"name": "x"}), 403, "another-search")
    assert begun.post("/v1/leases/99.1/beat").status_code == 404
    assert begun.post("/v1/leases/9999999999.1/beat").status_code == 404


def test_a_token_of_one_search_learns_no_names_of_others(begun, known):
    known("work", search="bowls")
    answer = begun.get("/v1/searches/bowls")
    assert answer.json()["detail"] == "no search 'bowls'"
    assert begun.put("/v1/searches/bowls", json=BODY).status_code == 201


def test_nothing_of_a_body_is_read_before_the_token_is_known(begun, known):
    known("read")
    json = {"Content-Type": "application/json"}
    refused(begun.put(SEARCH, content="{", headers=json), 403, "scope-too-small")
    begun.headers.pop("Authorization")
    refused(begun.put(SEARCH, content="{", headers=json), 401, "token-missing")


def test_a_database_keeps_no_secret_and_no_answer_but_one_holds_it(begun, known, store):
    known("admin")
    body = {"name": "gpus", "scope": "work", "search": "bowl", "days": 1.5}
    answer = begun.post("/v1/tokens", json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert re.fullmatch(rf"autotune_{made['id']}_[\w-]{{43}}", made["secret"])
    with store.reading() as connection:
        kept = str(connection.execute(select(Token.__table__)).all())
    _, _, secret = made["secret"].split("_", 2)
    assert secret not in kept
    assert secret not in begun.get("/v1/tokens").text
    begun.headers["Authorization"] = f"Bearer {made['secret']}"
    assert begun.get(SEARCH).status_code == 200
    refused(begun.get("/v1/tokens"), 403, "scope-too-small")


def test_tokens_are_revoked_over_http_and_listed_with_their_use(begun, known):
    mine = known("admin")
    made = begun.post("/v1/tokens", json={"name": "gpus"}).json()
    assert begun.delete(f"/v1/tokens/{made['id']}").status_code == 204
    assert begun.delete(f"/v1/tokens/{made['id']}").status_code == 204
    assert begun.delete("/v1/tokens/99").status_code == 404
    listed = {one["id"]: one for one in begun.get("/v1/tokens").json()["tokens"]}
    assert listed[made["id"]]["revoked"]
    assert listed[mine.id]["used"]


def test_the_first_token_is_not_made_over_http(client):
    said = refused(client.post("/v1/tokens", json={"name": "x"}), 403, "scope-too-small")
    assert "autotune token create" in said


def test_a_token_that_calls_too_often_is_told_when_to_call_again(url, store):
    made = build(url, rate=2.0)
    _, text = tokens.create(store, "t", Scope.READ)
    _, other = tokens.create(store, "u", Scope.READ)
    with TestClient(made) as client:
        one, two = ({"Authorization": f"Bearer {text}"} for text in (text, other))
        answers = [client.get("/v1", headers=one) for _ in range(9)]
        late = answers[-1]
        assert "2 times a second" in refused(late, 429, "too-many-requests")
        assert int(late.headers["retry-after"]) >= 1
        assert client.get("/v1", headers=two).status_code == 200


def test_no_secret_reaches_a_log(begun, known, caplog):
    caplog.set_level(logging.DEBUG)
    known("work")
    text = begun.headers["Authorization"].partition(" ")[2]
    begun.get(SEARCH)
    begun.get(SEARCH, headers={"Authorization": f"Bearer {text}x"})
    assert text not in caplog.text


def test_a_client_takes_its_token_from_the_environment(listening, url, monkeypatch):
    with Store(url) as store:
        made, text = tokens.create(store, "t", Scope.WORK)
        address = f"http://127.0.0.1:{listening}"
        monkeypatch.setenv("AUTOTUNE_TOKEN", text)
        with Client(address) as client:
            assert client.begin("bowl", BODY)["name"] == "bowl"
            assert text not in repr(client)
        tokens.revoke(store, made.id)
        with Client(address) as client, pytest.raises(Refused, match="the token was revoked"):
            client.search("bowl")
        monkeypatch.delenv("AUTOTUNE_TOKEN")
        with Client(address) as client, pytest.raises(Refused, match="asks for a token"):
            client.search("bowl")


def test_others_may_not_connect_as_long_as_there_is_no_token_for_them(url):
    options = Options(listen="0.0.0.0:0", plain_http=True)
    sentence = "--listen on '0.0.0.0' needs a token .* autotune token create NAME"
    with pytest.raises(SpecError, match=sentence):
        serve(url, options)
    with Store(url) as store:
        made, _ = tokens.create(store, "t", Scope.WORK)
        tokens.revoke(store, made.id)
    with pytest.raises(SpecError, match=sentence):
        serve(url, options)


def test_a_certificate_that_cannot_be_used_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(SpecError, match="must be in PEM form, belong together"):
        certified(tmp_path / "cert.pem", None)
    with pytest.raises(SpecError, match="--tls-cert must be a file"):
        certified(tmp_path / "none.pem", None)
    with pytest.raises(SpecError, match="--tls-key needs the certificate too"):
        Options(tls_key=tmp_path / "key.pem")


def test_an_embedded_application_asks_for_tokens_as_well(url, store):
    tokens.create(store, "t", Scope.READ)
    with TestClient(app(url)) as client:
        refused(client.get("/v1/searches"), 401, "token-missing")


def test_a_lease_is_told_of_by_the_token_that_asked_for_it_or_by_an_admin(begun, known):
    known("work")
    held, mine = lease(begun, "gpu", request="r"), begun.headers["Authorization"]
    known("work")
    point = {"points": [{"step": 1, "loss": 0.5}]}
    for verb, body in (("beat", None), ("points", point), ("end", {"outcome": "interrupted"})):
        detail = refused(begun.post(f"{held['url']}/{verb}", json=body), 403, "another-token")
        assert detail == (
            f"lease {held['id']} was given to the worker of another token; ask for a lease with "
            "this one"
        )
    # Nor does it get the trial by calling itself the same.
    assert lease(begun, "gpu", request="r")["trial"] != held["trial"]
    begun.headers["Authorization"] = mine
    assert lease(begun, "gpu", request="r")["id"] == held["id"]
    assert begun.post(f"{held['url']}/points", json=point).status_code == 200
    known("admin")
    assert begun.post(f"{held['url']}/end", json={"outcome": "interrupted"}).status_code == 200


def test_what_was_asked_for_before_there_was_a_token_may_be_told_with_one(begun, known):
    held = lease(begun, "gpu")
    known("work")
    assert begun.post(f"{held['url']}/beat").status_code == 200
    assert lease(begun, "gpu")["trial"] == held["trial"]
