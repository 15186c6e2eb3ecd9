from __future__ import annotations

import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from autotune.app import serve
from autotune.studies.records import Point, TrialState
from autotune.testing import sample
from autotune.testing.trials import search_trial


@pytest.fixture(scope="session")
def sample_url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('sample')}/autotune.db"
    sample.make(url)
    return url


@pytest.fixture
def page(monkeypatch):
    """Open a page of a database as a browser would."""

    def open_page(name, url, **address):
        monkeypatch.setenv("AUTOTUNE_STORAGE", url)
        from streamlit.testing.v1 import AppTest

        at = AppTest.from_file(str(serve.HERE / "pages" / "main.py"), default_timeout=30)
        for key, value in address.items():
            at.query_params[key] = value
        at.run()
        if name != "overview":
            at.switch_page(f"{name}.py").run()
        return at

    return open_page


@pytest.fixture
def trial():
    """Make a search trial from what a test cares about."""

    def make(number=0, **values):
        lr = {"lr": 1e-3 * (number + 1)}
        given = {"params": lr, "hyper": lr, "target": 90, "state": TrialState.COMPLETE, "step": 90}
        return search_trial(number, **given | values)

    return make


@pytest.fixture
def curve():
    """Make a curve from validation losses at every thirtieth step."""

    def make(*losses):
        return tuple(
            Point(step=30 * i, seconds=float(i), loss=loss) for i, loss in enumerate(losses, 1)
        )

    return make


@pytest.fixture(scope="session")
def serving():
    """Run the dashboard as a person would; gives its process and address."""
    return _serving


@pytest.fixture(scope="session")
def dashboard(sample_url, tmp_path_factory):
    """Serve the sample; gives the address."""
    with _serving(sample_url, tmp_path_factory.mktemp("home")) as (_, address):
        yield address


@contextmanager
def _serving(url, home, *flags, **variables):
    settings = {key: value for key, value in os.environ.items() if not key.startswith("STREAMLIT_")}
    command = ["-m", "autotune", "dashboard", "--storage", url, "--port", "0", "--no-browser"]
    command += flags
    process = subprocess.Popen(
        [sys.executable, "-P", *command],
        env={**settings, "HOME": str(home), **variables},
        cwd=home,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        assert line.startswith("dashboard at "), line + process.stderr.read()
        address = line.split()[2]
        _wait(address)
        yield process, address
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


@contextmanager
def _proxying(address, prefix, strip, host="127.0.0.2"):
    """Pass on what is asked below ``prefix`` as nginx does by default; gives the public address.

    ``strip``: the server does not get to see the prefix.
    """
    place = urlsplit(address)

    def rewritten(head):
        lines = head.decode("latin-1").split("\r\n")
        method, target, version = lines[0].split(" ")
        assert target.startswith(prefix)
        lines[0] = f"{method} {target.removeprefix(prefix) if strip else target} {version}"
        upgrade = any(line.lower().startswith("upgrade:") for line in lines)
        kept = [line for line in lines[1:] if not line.lower().startswith(("host:", "connection:"))]
        own = [f"Host: {place.netloc}", f"Connection: {'upgrade' if upgrade else 'close'}"]
        return "\r\n".join([lines[0], *own, *kept]).encode("latin-1")

    def pipe(source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    class Passing(socketserver.BaseRequestHandler):
        def handle(self):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                data = self.request.recv(1)
                if not data:
                    return
                head += data
            with socket.create_connection((place.hostname, place.port)) as there:
                there.sendall(rewritten(head))
                back = threading.Thread(target=pipe, args=(there, self.request), daemon=True)
                back.start()
                pipe(self.request, there)
                back.join()

    with socketserver.ThreadingTCPServer((host, 0), Passing) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_address[1]}{prefix}"
        server.shutdown()


@pytest.fixture(scope="session")
def proxying():
    """Put a proxy before a server."""
    return _proxying


def _wait(address):
    """Wait until the server answers: it names its address a moment before."""
    for _ in range(200):
        try:
            with urlopen(f"{address}/_stcore/health", timeout=1) as answer:
                assert answer.read() == b"ok"
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the dashboard never became healthy")
