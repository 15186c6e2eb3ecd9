"""Those who follow a search while its server is killed, or the database is away."""

from __future__ import annotations

import threading
import time

import httpx2

from autotune.studies.store import Store
from autotune.testing.remote import LARGER, Insists, heard, train
from autotune.testing.victims import served, serving

KILLS = 2
SEARCH = "/v1/searches/bowl"


def work(client, over):
    over.append(train(client))


def listen(address, told, over):
    """Note all events of a search; after a lost connection go on with what came last."""
    mark, wait = "", httpx2.Timeout(5, read=60)
    with httpx2.Client(base_url=address, timeout=wait) as client:
        while not over.is_set():
            headers = {"Last-Event-ID": mark} if mark else {}
            try:
                with client.stream("GET", f"{SEARCH}/events", headers=headers) as answer:
                    for kind, data, own in heard(answer.iter_lines()):
                        mark = own or mark
                        told.append((kind, data, mark))
            except httpx2.TransportError:
                over.wait(0.05)


def test_a_listener_misses_nothing_of_a_server_that_is_killed(places, rounds, moments, tmp_path):
    log = tmp_path / "log"
    for _ in range(rounds):
        url, told, done, over = places(), [], [], threading.Event()
        server, port = served(url, log)
        address = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=address, timeout=20) as client:
            insists = Insists(client, httpx2.TransportError, 0.05)
            assert insists.put(SEARCH, json=dict(LARGER)).status_code == 201
            listener = threading.Thread(target=listen, args=(address, told, over), daemon=True)
            worker = threading.Thread(target=work, args=(insists, done), daemon=True)
            listener.start()
            worker.start()
            for _ in range(KILLS):
                worker.join(moments() / 2)
                server.kill()
                server.join(10)
                server = serving(url, port, log)
            worker.join(120)
            assert done, log.read_text() if log.exists() else "the search did not end"
            wait_for_the_end(told)
        over.set()
        server.terminate()  # with a listener that would stay
        server.join(30)
        assert server.exitcode in {0, -15}
        listener.join(20)
        refuse_gaps(url, told)


def test_a_database_that_goes_away_is_waited_for(restartable, tmp_path):
    restartable.clear()
    told, over = [], threading.Event()
    server, port = served(restartable.url, tmp_path / "log")
    address = f"http://127.0.0.1:{port}"
    with httpx2.Client(base_url=address, timeout=60) as client:
        insists = Insists(client, httpx2.TransportError, 0.05)
        assert insists.put(SEARCH, json=dict(LARGER)).status_code == 201
        listener = threading.Thread(target=listen, args=(address, told, over), daemon=True)
        listener.start()
        train(client, most=1)
        assert "autotune_database_up 1.0" in client.get("/metrics").text
        restartable.stop()
        asked = client.post(f"{SEARCH}/leases", json={"worker": "w"})
        assert (asked.status_code, asked.json()["retry"]) == (503, "after")
        assert int(asked.headers["retry-after"]) > 0
        assert "the database refused" in asked.json()["detail"]
        assert restartable.port not in asked.text
        assert client.get("/readyz").json() == {"status": "unavailable"}
        assert client.get("/healthz").status_code == 200
        assert "autotune_database_up 0.0" in client.get("/metrics").text
        restartable.start()
        train(insists)
        wait_for_the_end(told)
        assert client.get("/readyz").status_code == 200
    over.set()
    server.terminate()
    server.join(20)
    listener.join(20)
    refuse_gaps(restartable.url, told)


def wait_for_the_end(told):
    deadline = time.monotonic() + 60
    while not (told and told[-1][0] == "search" and told[-1][1]["state"] == "complete"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def refuse_gaps(url, told):
    """Compare what was told last of each trial with what is stored; nothing was told again."""
    last = {(one["optimizer"], one["number"]): one for kind, one, _ in told if kind == "trial"}
    with Store(url, read_only=True) as store:
        search = store.search("bowl")
        kept = {
            (study.optimizer, one.number): (one.state, one.step, one.loss)
            for study in search.studies
            for one in store.trials(study.id)
        }
    assert {key: (one["state"], one["step"], one["loss"]) for key, one in last.items()} == kept
    revisions = [int(mark.partition(".")[2]) for *_, mark in told if mark]
    assert revisions == sorted(revisions)
    assert not {kind for kind, *_ in told} & {"reset", "deleted"}
