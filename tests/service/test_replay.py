"""The service decides what ``autotune.Tuner`` decides, and repeated calls change nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle

import httpx2
import pytest
from starlette.testclient import TestClient

from autotune.errors import NotFound
from autotune.service import app
from autotune.studies.store import Store
from autotune.testing.remote import BODY, LARGER, Insists, by_hand, stored, train

BODIES = {"trials": BODY, "runs": LARGER}


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    """The same searches by ``autotune.Tuner``: what they found, and what is stored of them."""
    found = {}
    for name, body in BODIES.items():
        url = f"sqlite:///{tmp_path_factory.mktemp(name)}/autotune.db"
        found[name] = (by_hand(url, body), stored(url))
    return found


@pytest.mark.parametrize("name", BODIES)
def test_a_search_over_http_is_the_search_of_a_loop_by_hand(name, client, url, hand):
    assert client.put("/v1/searches/bowl", json=BODIES[name]).status_code == 201
    assert train(client).json()["type"] == "urn:autotune:search-over"
    result, whole = hand[name]
    assert stored(url) == whole
    for row in result.rows:
        path = f"/v1/searches/bowl/studies/{row.optimizer}/recommendation"
        found = client.get(path).json()
        assert found["verdict"] == row.verdict
        assert found["loss"]["mean"] == row.tuned.loss.mean
        assert found["complete"]


class Drops(httpx2.BaseTransport):
    """Drops every so many answers of a service, after it has acted."""

    def __init__(self, inner, every):
        self.inner, self.every, self.count = inner, every, 0

    def handle_request(self, request):
        answer = self.inner.handle_request(request)
        self.count += 1
        if self.count % self.every == 0:
            raise httpx2.ReadError("the answer was dropped")
        return answer


@pytest.mark.parametrize("every", [3])
def test_answers_that_are_dropped_change_nothing(every, client, url, hand):
    assert client.put("/v1/searches/bowl", json=LARGER).status_code == 201
    transport = Drops(client._transport, every)
    with httpx2.Client(transport=transport, base_url="http://testserver") as dropping:
        assert train(Insists(dropping, httpx2.ReadError)).status_code == 410
    assert transport.count > 100
    assert stored(url) == hand["runs"][1]


def test_a_server_that_begins_anew_between_calls_decides_the_same(url, hand):
    with TestClient(app(url)) as first:
        assert first.put("/v1/searches/bowl", json=BODY).status_code == 201
    over = None
    while over is None:
        with TestClient(app(url)) as one:
            over = train(one, most=2)
    assert stored(url) == hand["trials"][1]


class Alternates:
    """A client of several servers, each asked in turn."""

    def __init__(self, *clients):
        self.clients = cycle(clients)

    def post(self, path, json):
        return next(self.clients).post(path, json=json)


def test_two_servers_of_one_database_decide_as_one(serving, postgres, hand):
    with Store(postgres) as store, suppress(NotFound):
        store.delete_search("bowl")
    first, second = serving(postgres), serving(postgres)
    assert first.put("/v1/searches/bowl", json=LARGER).status_code == 201
    assert train(Alternates(first, second)).status_code == 410
    assert stored(postgres) == hand["runs"][1]


def test_workers_of_two_servers_share_a_search(serving, postgres):
    with Store(postgres) as store, suppress(NotFound):
        store.delete_search("bowl")
    servers = [serving(postgres), serving(postgres)]
    assert servers[0].put("/v1/searches/bowl", json=LARGER).status_code == 201
    with ThreadPoolExecutor() as pool:
        ended = pool.map(train, servers * 2, ["bowl"] * 4, ["a", "b", "c", "d"])
        assert [answer.status_code for answer in ended] == [410] * 4
    with Store(postgres) as store:
        for study in store.search("bowl").studies:
            trials = store.trials(study.id)
            assert [one.number for one in trials] == list(range(len(trials)))
            assert sum(one.step for one in trials) / 27 <= 10
            assert store.recommendation(study.id)["source"] is not None
