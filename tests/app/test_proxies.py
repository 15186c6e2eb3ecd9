"""Behind a proxy: pages of named hosts are served, strangers refused, nobody outside is asked."""

from __future__ import annotations

import asyncio
import http.client
from urllib.parse import urlsplit

import pytest

from autotune.app.proxies import TOLD, Origins, RelativeRedirects

OURS = "127.0.0.1:8501"


def answer(app, scope):
    """Return what an application sends."""
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, None, send))
    return sent


def opened(origin, *, host=OURS, hosts=("127.0.0.1", "lab.example", "*.team.example"), app=None):
    """Open a WebSocket; return the origin that the application sees, None where it is refused."""
    seen = []

    async def inner(scope, receive, send):
        seen.extend(value.decode() for name, value in scope["headers"] if name == b"origin")

    headers = [(b"host", host.encode()), *([(b"origin", origin.encode())] if origin else [])]
    sent = answer(app or Origins(inner, hosts), {"type": "websocket", "headers": headers})
    if sent:
        assert sent == [{"type": "websocket.close", "code": 1008}]
        return None
    return seen[0] if seen else ""


@pytest.mark.parametrize(
    "origin",
    [
        "https://lab.example",
        "https://LAB.example:8443",
        "http://lab.example.",
        "https://a.team.example",
        "http://127.0.0.1:9999",
    ],
)
def test_a_page_of_a_named_host_is_served_whatever_host_the_proxy_names(origin):
    assert opened(origin) == f"http://{OURS}"
    assert opened(origin, host="lab.example") == "http://lab.example"


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "https://lab.example.evil.example", "https://team.example"),
        *("null", "https://lab.example@evil.example", "http://[::1", "https://evil.example:443"),
    ],
)
def test_a_strangers_page_is_refused_before_streamlit_looks_up_its_own_address(origin, capsys):
    assert opened(origin) is None
    assert "AUTOTUNE_ALLOWED_HOSTS" in capsys.readouterr().err


def test_a_program_names_no_page(capsys):
    assert opened(None) == ""


def test_any_host_may_be_allowed():
    assert opened("https://evil.example", hosts=("*",)) == f"http://{OURS}"


def test_each_stranger_is_told_of_once_and_not_without_end(capsys):
    app = Origins(None, ("lab.example",))
    for _ in range(2):
        for number in range(2 * TOLD):
            opened(f"https://{number}.evil.example\x1b[2J", app=app)

    told = capsys.readouterr().err.splitlines()
    assert len(told) == TOLD
    assert told[0] == (
        "refused a page of https://0.evil.example?[2J: if it is a proxy of yours, name its host in "
        "AUTOTUNE_ALLOWED_HOSTS"
    )


@pytest.mark.parametrize(
    ("path", "location", "sent"),
    [
        ("/study/", "/study?tab=Trials", "../study?tab=Trials"),
        ("/tuning/study/", "/tuning/study", "../../tuning/study"),
        ("/tuning", f"http://{OURS}/tuning/", "./tuning/"),
        ("/study/", "https://elsewhere.example/", "https://elsewhere.example/"),
        ("/a/b/", "../mcp", "../mcp"),
    ],
)
def test_redirects_start_from_where_the_browser_is(path, location, sent):
    async def inner(scope, receive, send):
        headers = [(b"location", location.encode()), (b"x", b"y")]
        await send({"type": "http.response.start", "status": 301, "headers": headers})

    scope = {"type": "http", "path": path, "headers": [(b"host", OURS.encode())]}
    [start] = answer(RelativeRedirects(inner), scope)

    assert start["headers"] == [(b"location", sent.encode()), (b"x", b"y")]


@pytest.fixture(scope="module")
def proxied(serving, sample_url, tmp_path_factory):
    """Serve the sample under a path, for a proxy called lab.example; gives the address."""
    home = tmp_path_factory.mktemp("proxied")
    allowed = {"AUTOTUNE_ALLOWED_HOSTS": "lab.example"}
    with serving(sample_url, home, "--base-path", "/tuning", **allowed) as (_, address):
        yield address


def asked(address, path, **headers):
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=10)
    connection.request("GET", path, headers=headers)
    found = connection.getresponse()
    connection.close()
    return found.status, found.headers


def handshake(address, **headers):
    """Ask for the page's WebSocket as a proxy passes it on, by default to the server's own host."""
    wanted = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    return asked(address, "/tuning/_stcore/stream", **wanted, **headers)[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://lab.example"}, 101),
        ({"Origin": "https://lab.example:8443", "Host": "lab.example"}, 101),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://lab.example", "Host": "evil.example"}, 403),
    ],
    ids=["default host", "host kept", "a stranger's page", "a rebound host"],
)
def test_a_proxys_handshake(proxied, headers, status):
    assert handshake(proxied, **headers) == status


def test_a_dashboard_under_a_path_answers_there_and_says_so(proxied):
    assert proxied.endswith("/tuning")
    assert asked(proxied, "/tuning/study?tab=Trials")[0] == 200
    status, headers = asked(proxied, "/tuning/study/?tab=Trials")
    assert (status, headers["location"]) == (301, "../../tuning/study?tab=Trials")
    assert headers["x-frame-options"] == "DENY"
    status, headers = asked(proxied, "/tuning")
    assert (status, headers["location"]) in {(307, "./tuning/"), (200, None)}
