"""SIGKILL of a server between and within the calls of its worker."""

from __future__ import annotations

import threading
import time

import httpx2

from autotune.studies.store import Store
from autotune.testing import crowds
from autotune.testing.crowds import Crowd
from autotune.testing.remote import LARGER, Insists, by_hand, stored, train
from autotune.testing.victims import served, serving

KILLS = 3


def work(client, over):
    over.append(train(client))


def test_many_workers_outlive_servers_and_each_other(server, rounds, moments, tmp_path):
    body, calm = crowds.body(5), f"sqlite:///{tmp_path}/calm.db"
    crowds.alone(calm, "crowd", body, pauses=False)  # whether one can pause changes no trial here
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        ports = (0,) * (2 - number % 2)  # two servers, then one
        crowd = Crowd(
            url=server, search="crowd", ports=ports, clients=3, trains=0.1, folder=folder,
            pauses=number % 4 < 2,
        )  # fmt: skip
        try:
            crowd.begin(body)
            for _ in range(KILLS):
                time.sleep(moments())
                crowd.kill_a_server()
                crowd.kill_a_client()
            ends = time.monotonic() + 120
            while not crowd.over():
                assert time.monotonic() < ends, crowds.tally(server, "crowd")
                time.sleep(0.05)
        finally:
            crowd.end()
        assert crowds.tally(server, "crowd") == {"lost": [], "doubled": [], "overspent": []}
        assert crowds.recommended(server, "crowd") == crowds.recommended(calm, "crowd")
        with Store(server) as store:
            store.delete_search("crowd")


def test_a_search_outlives_its_server(places, rounds, moments, tmp_path):
    other, log = f"sqlite:///{tmp_path}/by-hand.db", tmp_path / "log"
    by_hand(other, LARGER)
    for _ in range(rounds):
        url, over = places(), []
        server, port = served(url, log)
        address = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=address, timeout=20) as client:
            insists = Insists(client, httpx2.TransportError, 0.05)
            assert insists.put("/v1/searches/bowl", json=dict(LARGER)).status_code == 201
            worker = threading.Thread(target=work, args=(insists, over), daemon=True)
            worker.start()
            for _ in range(KILLS):
                worker.join(moments() / 2)
                server.kill()
                server.join(10)
                server = serving(url, port, log)
            worker.join(120)
            assert over, log.read_text() if log.exists() else "the search did not end"
            server.terminate()
            server.join(20)
            assert server.exitcode in {0, -15}
        assert stored(url) == stored(other)
