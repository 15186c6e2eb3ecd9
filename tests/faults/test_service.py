"""SIGKILL of a server between and within the calls of its worker."""

from __future__ import annotations

import socket
import threading

import httpx2

from autotune.testing.remote import LARGER, Insists, by_hand, stored, train
from autotune.testing.victims import serving

KILLS = 3


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def work(client, over):
    over.append(train(client))


def test_a_search_outlives_its_server(places, rounds, moments, tmp_path):
    other, log = f"sqlite:///{tmp_path}/by-hand.db", tmp_path / "log"
    by_hand(other, LARGER)
    for _ in range(rounds):
        url, port = places(), free_port()
        server, over = serving(url, port, log), []
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
