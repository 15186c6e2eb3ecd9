"""The service decides what ``autotune.Tuner`` decides, and repeated calls change nothing."""

from __future__ import annotations

import httpx2
import pytest
from starlette.testclient import TestClient

import autotune
from autotune.service import app
from autotune.studies.store import Store
from autotune.testing.remote import BODY, loss_of, train

LARGER = {
    **BODY,
    "task": {"external": {"model": "bowl", "steps": 27}},
    "optimizers": ["adan", "adamw"],
    "budget": {"runs": 12},
    "seeds": 3,
}


def stored(url, name="bowl"):
    """Return what defines each stored trial, and how it ended."""
    found = []
    with Store(url, read_only=True) as store:
        for study in store.search(name).studies:
            curves = store.curves(study.id)
            for t in store.trials(study.id):
                curve = [(p.step, p.loss) for p in curves.get(t.id, ()) if p.loss is not None]
                what = (study.optimizer, t.number, t.role, t.origin, str(t.setting.hyper), t.source)
                found.append((*what, t.setting.warmup, t.seed, t.state, t.step, t.loss, curve))
            found.append(store.recommendation(study.id)["source"])
    return found


def by_hand(url, body):
    """Run the same search by ``autotune.Tuner``."""
    limits = body["budget"]
    with autotune.Tuner(
        body["optimizers"],
        steps=body["task"]["external"]["steps"],
        name="bowl",
        storage=url,
        seeds=body["seeds"],
        progress="off",
        **limits,
    ) as tuner:
        for trial in tuner:
            for step in trial.evaluate:
                trial.report(step, loss_of(trial.hyper, trial.seed, step))
        return tuner.result


@pytest.mark.parametrize("body", [BODY, LARGER], ids=["trials", "runs"])
def test_a_search_over_http_is_the_search_of_a_loop_by_hand(body, client, url, tmp_path):
    assert client.put("/v1/searches/bowl", json=body).status_code == 201
    assert train(client).json()["type"] == "urn:autotune:search-over"
    other = f"sqlite:///{tmp_path}/by-hand.db"
    result = by_hand(other, body)
    assert stored(url) == stored(other)
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


class Insists:
    """A client that sends the same again until it is answered."""

    def __init__(self, client):
        self.client = client

    def post(self, path, json):
        while True:
            try:
                return self.client.post(path, json=json)
            except httpx2.ReadError:
                pass


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What is stored of a search in which nothing was lost."""
    url = f"sqlite:///{tmp_path_factory.mktemp('whole')}/autotune.db"
    with TestClient(app(url)) as client:
        assert client.put("/v1/searches/bowl", json=LARGER).status_code == 201
        train(client)
    return stored(url)


@pytest.mark.parametrize("every", [10, 3])
def test_answers_that_are_dropped_change_nothing(every, client, url, undisturbed):
    assert client.put("/v1/searches/bowl", json=LARGER).status_code == 201
    transport = Drops(client._transport, every)
    with httpx2.Client(transport=transport, base_url="http://testserver") as dropping:
        assert train(Insists(dropping)).status_code == 410
    assert transport.count > 100
    assert stored(url) == undisturbed


def test_a_server_that_begins_anew_between_calls_decides_the_same(url, tmp_path):
    with TestClient(app(url)) as first:
        assert first.put("/v1/searches/bowl", json=BODY).status_code == 201
    for _ in range(100):
        with TestClient(app(url)) as one:
            if train(one, most=1) is not None:
                break
    other = f"sqlite:///{tmp_path}/by-hand.db"
    by_hand(other, BODY)
    assert stored(url) == stored(other)
