"""Searches that are followed: nothing is missed, told twice or waited for in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack
from itertools import islice

import httpx2
import pytest

from autotune.errors import Unavailable
from autotune.service import events, feeds
from autotune.service import guard as guards
from autotune.studies import news, tokens
from autotune.studies.store import Store
from autotune.testing.remote import BODY, heard, lease, train

PATH = "/v1/searches/bowl/events"
SOON = 20.0  # seconds in which anything has to come, on a slow machine


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(feeds, "EVERY", 0.05)
    monkeypatch.setattr(events, "EVERY", 0.05)
    monkeypatch.setattr(events, "BEAT", 3 * SOON)  # else a stream that hangs would never time out


def now(client, **query):
    """Return what there is to tell now."""
    answer = client.get(PATH, params={"seconds": 0, **query})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return list(heard(answer.text.split("\n")))


@pytest.fixture
def follow(listening):
    """Follow the search of a server that listens; yields events as they come."""
    with ExitStack() as stack:
        client = httpx2.Client(base_url=f"http://127.0.0.1:{listening}", timeout=SOON)
        stack.enter_context(client)

        def following(**more):
            answer = stack.enter_context(client.stream("GET", PATH, **more))
            assert answer.status_code == 200
            return heard(answer.iter_lines())

        yield client, following


def told(found):
    """Return how trials stand by their last event."""
    kind = {(data["optimizer"], data["number"]): data for name, data, _ in found if name == "trial"}
    return {key: (one["state"], one["step"], one["loss"]) for key, one in kind.items()}


def first(stream, kind, **values):
    """Return the content of the first event of a kind with these values."""
    for name, data, _ in stream:
        if name == kind and values.items() <= data.items():
            return data
    pytest.fail(f"the stream ended without a {kind} of {values}")


def stands(client):
    trials = client.get("/v1/searches/bowl/studies/adamw/trials").json()["trials"]
    return {("adamw", one["number"]): (one["state"], one["step"], one["loss"]) for one in trials}


def test_everything_is_told_and_then_how_the_search_stands(begun):
    train(begun)
    *trials, (kind, search, mark) = now(begun)
    assert told(trials) == stands(begun)
    assert all(data["measured"]["step"] == 9 for _, data, _ in trials)
    assert (kind, search["state"]) == ("search", "complete")
    assert search["studies"][0]["counts"] == {"complete": 8}
    assert mark.endswith(f".{search['revision']}")
    assert [kind for kind, *_ in now(begun, since=search["revision"])] == ["search"]


@pytest.mark.parametrize("page", [1, 2, 500])
def test_from_any_id_on_all_that_came_later_is_told(begun, monkeypatch, page):
    train(begun, most=5)
    lease(begun)
    store = begun.app.state.service.store
    study = store.search("bowl").studies[0]
    with store.writing() as connection:  # as one change of several trials leaves them
        newest = connection.exec_driver_sql("SELECT max(revision) FROM autotune_trials").scalar()
        same = f"UPDATE autotune_trials SET revision = {newest - 1} WHERE id < 4"
        connection.exec_driver_sql(same)
    monkeypatch.setattr(news.news, "__defaults__", (page,))
    whole = now(begun)
    numbers = [data["number"] for kind, data, _ in whole if kind == "trial"]
    assert numbers == [one.number for one in store.trials(study.id)]
    for position, (_, _, mark) in enumerate(whole):
        if mark:
            again = now(begun, since=mark)
            assert told(again) == told(whole[position + 1 :]), mark
            headers = {"Last-Event-ID": mark}
            answer = begun.get(PATH, params={"seconds": 0, "since": 0}, headers=headers)
            assert list(heard(answer.text.split("\n"))) == again
    unmarked = [position for position, (_, _, mark) in enumerate(whole) if not mark]
    assert unmarked == [0, 1]  # two of three that changed together


def test_what_happens_is_told_as_it_happens(follow):
    client, following = follow
    client.put("/v1/searches/bowl", json=BODY)
    stream = following()
    assert next(stream)[0] == "search"
    held = lease(client)
    assert first(stream, "trial", state="running")["number"] == 0
    client.post(f"{held['url']}/points", json={"points": [{"step": 1, "loss": 2.5}]})
    assert first(stream, "trial", state="running")["measured"]["loss"] == 2.5
    client.patch("/v1/searches/bowl", json={"command": "pause"}, headers={"If-Match": "*"})
    first(stream, "search", command="pause")
    client.post(f"{held['url']}/end", json={"outcome": "failed", "reason": "no"})
    assert first(stream, "trial", state="failed")["reason"] == "no"


def test_a_search_that_is_deleted_says_so_and_another_of_its_name_begins_anew(follow):
    client, following = follow
    client.put("/v1/searches/bowl", json=BODY)
    stream = following()
    *_, mark = next(stream)
    client.delete("/v1/searches/bowl", headers={"If-Match": "*"})
    assert list(stream) == [("deleted", {}, "")]
    assert client.get(PATH).status_code == 404
    client.put("/v1/searches/bowl", json=BODY)
    kinds = following(headers={"Last-Event-ID": mark})
    assert [next(kinds)[0], next(kinds)[0]] == ["reset", "search"]


def test_a_server_that_ends_ends_its_streams_at_once(begun):
    begun.app.state.service.draining = True
    began = time.monotonic()
    answer = begun.get(PATH)
    assert answer.status_code == 200
    assert time.monotonic() - began < SOON


def test_a_quiet_stream_says_that_it_lives(follow, monkeypatch):
    monkeypatch.setattr(events, "BEAT", 0.1)
    client, following = follow
    client.put("/v1/searches/bowl", json=BODY)
    stream = following()
    next(stream)
    assert [next(stream)[:2], next(stream)[:2]] == [("", "alive")] * 2


def test_a_token_that_is_revoked_is_told_nothing_more(follow, monkeypatch, url):
    monkeypatch.setattr(events, "BEAT", 0.1)
    monkeypatch.setattr(guards, "LOOK", 0.0)
    client, following = follow
    client.put("/v1/searches/bowl", json=BODY)
    with Store(url) as store:
        made, text = tokens.create(store, "t", tokens.Scope.READ)
        stream = following(headers={"Authorization": f"Bearer {text}"})
        next(stream)
        tokens.revoke(store, made.id)
    left = [kind for kind, *_ in islice(stream, 100)]
    assert set(left) <= {""}
    assert len(left) < 100  # it ends


def test_a_database_that_was_away_is_read_on_when_it_is_back(follow, monkeypatch):
    client, following = follow
    client.put("/v1/searches/bowl", json=BODY)
    stream = following()
    next(stream)
    real, away = news.news, threading.Event()

    def broken(*given):
        if away.is_set():
            raise Unavailable("it restarts")
        return real(*given)

    away.set()
    monkeypatch.setattr(news, "news", broken)
    train(client, most=1)
    time.sleep(0.3)
    away.clear()
    assert first(stream, "trial", number=0)["state"] != "running"


def test_many_listeners_share_what_is_read_and_cost_no_threads(listening, url, monkeypatch):
    real, reads = news.news, []

    def counted(*given):
        reads.append(given)
        return real(*given)

    monkeypatch.setattr(news, "news", counted)
    many, address = 100, f"http://127.0.0.1:{listening}"
    with httpx2.Client(base_url=address, timeout=SOON) as client:
        client.put("/v1/searches/bowl", json=BODY)
        train(client, most=1)
        before = threading.active_count()
        threads, found = asyncio.run(_listen(address, many, client))
    assert threads <= before + 12  # those of its pool, and of this loop
    assert len(found) == many
    assert all(told(one) == told(found[0]) for one in found)
    assert len(reads) < many


async def _listen(address, many, client):
    """Let many listen until a trial more has ended; return the threads, and what they heard."""
    mark = {"Last-Event-ID": "1.1"}
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=address, timeout=SOON, limits=limits) as listener:
        ready, heard_by, counts = asyncio.Semaphore(0), [], []

        async def listen():
            lines = []
            async with listener.stream("GET", PATH, headers=mark) as answer:
                async for line in answer.aiter_lines():
                    lines.append(line)
                    found = list(heard(lines))
                    if found and found[-1][0] == "search" and len(lines) < 12:
                        ready.release()
                    if any(data.get("number") == 1 for _, data, _ in found) and not line:
                        heard_by.append(found)
                        return

        tasks = [asyncio.create_task(listen()) for _ in range(many)]
        for _ in range(many):
            await asyncio.wait_for(ready.acquire(), SOON)
        counts.append(threading.active_count())
        await asyncio.to_thread(train, client, most=1)
        await asyncio.wait_for(asyncio.gather(*tasks), SOON)
        return counts[0], heard_by


@pytest.mark.parametrize("mark", ["", "x", "1.x", "-1", "99999999999", "1.4294967296", "1.2.3"])
def test_an_id_that_no_event_had_is_refused(begun, mark):
    answer = begun.get(PATH, headers={"Last-Event-ID": mark})
    assert answer.status_code == 422
    assert "must be the id of an event" in answer.json()["detail"]
    assert begun.get(PATH, params={"since": mark}).status_code == 422
    assert begun.get(PATH, headers={"Last-Event-ID": mark}, params={"since": 1}).status_code == 422


def test_more_listeners_than_a_server_can_have_come_back_later(begun, monkeypatch):
    monkeypatch.setattr(feeds, "LISTENERS", 0)
    answer = begun.get(PATH)
    assert answer.status_code == 503
    assert answer.json()["retry"] == "after"
