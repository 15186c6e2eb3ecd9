"""A server as those see it who run it: TLS, the log, counts, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from autotune.cli import main
from autotune.client import Client
from autotune.errors import SpecError, Unavailable
from autotune.service import app, guard, logs, server
from autotune.service.limits import Hosts
from autotune.service.server import certified
from autotune.studies import tokens
from autotune.studies.store import Store
from autotune.testing.remote import BODY, lease, train

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")


def certificate(folder, name):
    """Make a certificate of this machine, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    made = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -out {cert} "
        f"-keyout {key}"
    )
    subprocess.run(made.split(), check=True, capture_output=True)
    return cert, key


@pytest.fixture
def started(url, tmp_path):
    """Start ``autotune serve``; return its process, its address and the lines of its log so far."""
    command = Path(sys.executable).parent / "autotune"
    running = []

    def start(*args):
        process = subprocess.Popen(
            [command, "serve", "--storage", url, "--log-format", "json", *map(str, args)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
        running.append((process, reader))
        reader.start()
        deadline = time.monotonic() + 60
        while not any("serving" in line for line in lines):
            assert process.poll() is None, lines
            assert time.monotonic() < deadline
            time.sleep(0.02)
        said = next(line for line in lines if "serving" in line)
        return process, re.search(r"(https?)://\S+:(\d+)", said), lines, reader

    yield start
    for process, reader in running:
        process.kill()
        process.wait()
        reader.join(10)
        process.stderr.close()


@needs_openssl
def test_others_connect_by_tls_and_a_token_and_the_log_holds_no_secret(
    started, url, tmp_path, monkeypatch
):
    cert, key = certificate(tmp_path, "own")
    with Store(url) as store:
        made, text = tokens.create(store, "t", tokens.Scope.WORK)
    given = ("--listen", "0.0.0.0:0", "--tls-cert", cert, "--tls-key", key)
    process, said, lines, reader = started(*given)
    assert said[1] == "https"
    address = f"https://localhost:{said[2]}"
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    with Client(address, token=text) as client:
        client.begin("bowl", BODY)
    head = {"Authorization": f"Bearer {text}"}
    with httpx2.Client(base_url=address, verify=ssl.create_default_context(cafile=cert)) as client:
        client.get(f"/v1/{text}?token={text}", headers=head)
        with client.stream("GET", "/v1/searches/bowl/events", headers=head) as stream:
            heard = stream.iter_lines()
            next(heard)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert any(line.startswith("id:") for line in heard)  # and it ends
        assert process.wait(30) in {0, -signal.SIGTERM}
        assert time.monotonic() - began < server.DRAIN / 2
    reader.join(10)
    log = [json.loads(line) for line in lines]
    _, _, secret = text.split("_", 2)
    assert secret not in "".join(lines)
    (put,) = [line for line in log if line.get("method") == "PUT"]
    assert (put["path"], put["status"], put["token"]) == ("/v1/searches/bowl", 201, made.id)
    assert {line["level"] for line in log} == {"info"}


@needs_openssl
def test_a_key_of_another_certificate_or_with_a_password_is_refused(tmp_path):
    cert, key = certificate(tmp_path, "own")
    other, _ = certificate(tmp_path, "other")
    assert certified(cert, key)
    locked = tmp_path / "locked.key"
    made = f"openssl ec -in {key} -out {locked} -aes128 -passout pass:word"
    subprocess.run(made.split(), check=True, capture_output=True)
    for chain, private in ((other, key), (cert, locked), (cert, None)):
        with pytest.raises(SpecError, match="must be in PEM form, belong together"):
            certified(chain, private)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--listen", "0.0.0.0:0"), "tokens would be read on their way; give --tls-cert"),
        (("--listen", "0.0.0.0:0", "--plain-http"), "needs a token that callers are known by"),
        (("--tls-key", "x.key"), "--tls-key needs the certificate too"),
        (("--tls-cert", "none.pem"), "--tls-cert must be a file, got 'none.pem'"),
        (("--rate", "-1"), "--rate must be 0 or more requests a second, got -1"),
        (("--rate", "nan"), "--rate must be 0 or more requests a second, got nan"),
    ],
)
def test_a_server_that_could_not_be_safe_does_not_start(args, sentence, url):
    result = CliRunner().invoke(main, ["serve", "--storage", url, *args])
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_requests_listeners_and_what_is_stored_are_counted(begun):
    train(begun)
    begun.get("/v2/secret")
    begun.request("FETCH", "/v1")
    begun.get("/v1/searches/bowl/events?seconds=0")
    answer = begun.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    post = 'method="POST",route="/v1/searches/{name}/leases"'
    for line in (
        'autotune_http_requests_total{method="GET",route="other",status="404"} 1.0',
        f'autotune_http_requests_total{{{post},status="410"}} 1.0',
        'autotune_searches{state="complete"} 1.0',
        'autotune_trials{state="complete"} 8.0',
        "autotune_leases 0.0",
        "autotune_listeners 0.0",
        "autotune_database_up 1.0",
    ):
        assert line in lines
    assert any(line.startswith(f"autotune_http_request_seconds_count{{{post}}}") for line in lines)
    assert "secret" not in answer.text
    assert "FETCH" not in answer.text
    begun.put("/v1/searches/other", json=BODY)
    lease(begun, search="other")
    assert "autotune_leases 1.0" in begun.get("/metrics").text


def test_counts_say_that_the_database_is_away_to_who_could_read_them_before(
    begun, url, monkeypatch
):
    monkeypatch.setattr(guard, "LOOK", 0.0)
    with Store(url) as store:
        _, text = tokens.create(store, "t", tokens.Scope.READ)
        _, other = tokens.create(store, "u", tokens.Scope.READ)
    mine, theirs = ({"Authorization": f"Bearer {one}"} for one in (text, other))
    assert "autotune_database_up 1.0" in begun.get("/metrics", headers=mine).text

    def away(*_):
        raise Unavailable("it restarts")

    monkeypatch.setattr(Store, "reading", away)
    found = begun.get("/metrics", headers=mine).text
    assert "autotune_database_up 0.0" in found
    assert "autotune_trials" not in found
    for headers in (theirs, {}, {"Authorization": f"Bearer {text}x"}):
        assert begun.get("/metrics", headers=headers).status_code in {401, 503}


def test_a_line_of_the_log_is_one_line_without_secrets():
    secret = "autotune_12_" + "A" * 43
    record = logging.LogRecord("n", logging.INFO, "", 1, f"a\n{secret}", (), None)
    record.fields = {"path": f"/{secret}", "status": 404}
    line = logs.Json().format(record)
    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "", "level": "info", "logger": "n", "message": "a\nautotune_12_***",
        "path": "/autotune_12_***", "status": 404,
    }  # fmt: skip
    assert secret not in logs.Text().format(record)


def test_a_path_cannot_write_lines_of_its_own_into_the_log(begun, caplog):
    caplog.set_level(logging.INFO, "autotune")
    begun.get("/v1/%0aINFO forged?token=secret")
    (line,) = [one.getMessage() for one in caplog.records if "forged" in one.getMessage()]
    assert line.startswith("GET /v1/%0AINFO%20forged 404 in ")
    assert "secret" not in caplog.text


def test_a_request_for_another_host_is_logged(url, caplog):
    caplog.set_level(logging.INFO, "autotune")
    with TestClient(Hosts(app(url), ["localhost"])) as client:
        assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 421
    assert "a request for host evil.example was refused" in caplog.text
