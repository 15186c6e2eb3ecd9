"""The service decides what ``autotune.Tuner`` decides, and repeated calls change nothing."""

from __future__ import annotations

import httpx2
import pytest
from starlette.testclient import TestClient

from autotune.service import app
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
