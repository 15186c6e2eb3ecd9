"""A real server, asked without a browser."""

from __future__ import annotations

import http.client
import signal
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

import pytest


def handshake(address, host):
    """Ask for the page's WebSocket in the name of ``host``."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=10)
    headers = {
        "Host": host,
        "Origin": f"http://{host}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    connection.request("GET", "/_stcore/stream", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("path", ["/", "/compare", "/_stcore/health"])
def test_every_answer_carries_the_security_headers(dashboard, path):
    with urlopen(dashboard + path) as answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}

    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_a_page_names_what_draws_its_figures_before_it_is_asked(dashboard):
    with urlopen(f"{dashboard}/compare") as answer:
        named = [value.split(">")[0].lstrip("<") for value in answer.headers.get_all("link")]
    with urlopen(f"{dashboard}/_stcore/health") as other:
        assert other.headers.get_all("link") is None

    assert "PlotlyChart" in named[0]
    for part in named:
        with urlopen(urljoin(f"{dashboard}/compare", part)) as answer:
            assert "javascript" in answer.headers["content-type"]


def test_our_own_host_is_connected(dashboard):
    assert handshake(dashboard, urlsplit(dashboard).netloc) == 101


def test_a_rebound_host_is_refused(dashboard):
    assert handshake(dashboard, "evil.example") == 403


def test_ctrl_c_ends_the_dashboard_in_peace(serving, sample_url, tmp_path):
    with serving(sample_url, tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)

        assert process.wait(10) == 0
