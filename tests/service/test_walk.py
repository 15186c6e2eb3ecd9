"""The walk of docs/service.md, by curl and a shell, against a server that listens."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import uvicorn

from autotune.service import app
from autotune.service.server import Server, address, bound

PAGE = Path(__file__).parents[2] / "docs/service.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


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


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_walk_does_what_the_page_says(listening, tmp_path):
    serve, *walk = BLOCKS
    assert serve.startswith("autotune serve ")
    script = "\n".join(walk).replace("127.0.0.1:8400", f"127.0.0.1:{listening}")
    ran = subprocess.run(
        ["sh", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"verdict":"tuned adamw' in ran.stdout
    assert "lr:" in ran.stdout
    last = json.loads(ran.stdout[ran.stdout.rindex('{"name":"bowl"') :])
    assert last["spec"]["budget"]["trials"] == 3
