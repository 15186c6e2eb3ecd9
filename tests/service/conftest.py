"""A service on an own database, called within this process."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from starlette.testclient import TestClient

from autotune.service import app
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
