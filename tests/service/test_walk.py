"""The walk of docs/service.md, by curl and by Python, against a server that listens."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/service.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
LOOPS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_walk_does_what_the_page_says(listening, tmp_path):
    serve, *walk = BLOCKS
    assert serve.startswith("autotune serve ")
    script = "\n".join(walk).replace("127.0.0.1:8400", f"127.0.0.1:{listening}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where the command is
    ran = subprocess.run(
        ["sh", "-euc", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"verdict":"tuned adamw' in ran.stdout
    assert "lr:" in ran.stdout
    last, _ = json.JSONDecoder().raw_decode(ran.stdout, ran.stdout.rindex('{"name":"bowl","url"'))
    assert last["spec"]["budget"]["trials"] == 3
    assert '"role":"added"' in ran.stdout
    assert "event: search" in ran.stdout
    assert "event: trial" not in ran.stdout  # they were told before that id
    told = re.findall(r"urn:autotune:([\w-]+)", ran.stdout)
    assert told == ["token-missing", "another-search", "token-revoked"]


def test_the_loop_of_the_page_trains_its_search(listening, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (loop,) = LOOPS
    exec(loop.replace("127.0.0.1:8400", f"127.0.0.1:{listening}"), {})
    assert "adamw" in capsys.readouterr().out
    assert (tmp_path / "autotune-states/line").is_dir()
