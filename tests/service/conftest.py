"""A service on an own database, called within this process."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import httpx2
import pytest
import uvicorn
from starlette.testclient import TestClient

from autotune.service import app
from autotune.service.server import Server, address, bound
from autotune.testing.remote import BODY


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/autotune.db"


@pytest.fixture
def serving():
    """Start services on databases; they end with the test."""
    with ExitStack() as stack:
        yield lambda storage: stack.enter_context(TestClient(app(storage)))


@pytest.fixture
def client(serving, url):
    return serving(url)


@pytest.fixture
def begun(client):
    """A service with a search that has begun."""
    assert client.put("/v1/searches/bowl", json=BODY).status_code == 201
    return client


class Way(httpx2.BaseTransport):
    """The way to a service within this process, which no client closes for the others."""

    def __init__(self, inner):
        self.inner = inner

    def handle_request(self, request):
        return self.inner.handle_request(request)


@pytest.fixture
def way(begun):
    return Way(begun._transport)


@pytest.fixture
def listening(url):
    """The port of a server that runs in a thread, and ends as SIGTERM ends it."""
    listener = bound(*address("0"))
    made = app(url)
    server = Server(uvicorn.Config(made, log_level="warning"), made.state.service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname()[1]
    server.handle_exit(15, None)
    thread.join(20)
    listener.close()
    assert not thread.is_alive()
