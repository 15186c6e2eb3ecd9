"""The server refuses what it cannot do before it starts, and tells strangers little."""

from __future__ import annotations

import re
import socket
import subprocess
import sys

import pytest

from autotune.app import serve
from autotune.errors import MissingExtra, SpecError


def test_importing_the_server_loads_neither_streamlit_nor_plotly():
    code = (
        "import sys; import autotune.app.serve; "
        "print(sorted({'streamlit', 'plotly', 'pandas'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )

    assert ran.stdout == "[]\n"


def test_a_busy_port_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = (
            f"port {port} of 127.0.0.1 cannot be used (Address already in use); "
            "pass another --port, or --port 0 for a free one"
        )
        with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
            serve.serve("sqlite:///unused.db", "127.0.0.1", port, False)


def test_a_port_out_of_range_is_refused():
    with pytest.raises(SpecError, match=r"^port 70000 of 127\.0\.0\.1 cannot be used \(.*\); pass"):
        serve.serve("sqlite:///unused.db", "127.0.0.1", 70000, False)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(serve, "NEEDED", ("streamlit", "no_such_plotly"))
    sentence = (
        "the dashboard needs no_such_plotly; install the extra: "
        "pip install 'adan-autotune[dashboard]'"
    )

    with pytest.raises(MissingExtra, match=f"^{re.escape(sentence)}$"):
        serve.serve("sqlite:///unused.db", "127.0.0.1", 0, False)


def test_only_named_hosts_may_ask():
    assert serve.settings("10.0.0.5", 1)["server.allowedHosts"] == [
        "10.0.0.5",
        "127.0.0.1",
        "localhost",
    ]


def test_further_hosts_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("AUTOTUNE_ALLOWED_HOSTS", "lab.example, ")

    assert "lab.example" in serve.settings("127.0.0.1", 1)["server.allowedHosts"]


def test_nothing_is_told_to_strangers():
    settings = serve.settings("127.0.0.1", 1)

    assert settings["browser.gatherUsageStats"] is False
    assert settings["client.showErrorDetails"] == "type"


@pytest.mark.parametrize(
    ("given", "path"), [("", ""), ("/", ""), ("/tuning", "/tuning"), ("a/b-c/", "/a/b-c")]
)
def test_a_base_path_is_taken_with_or_without_its_slashes(given, path):
    assert serve._path(given) == path


@pytest.mark.parametrize("given", ["a b", "/../etc", "http://lab.example/x", "/a//b", "/a?b", "."])
def test_what_is_no_path_is_refused(given):
    sentence = (
        "--base-path must be a path of letters, digits, '-', '_' and '.', as in /tuning, "
        f"got '{given}'"
    )
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        serve.serve("sqlite:///unused.db", "127.0.0.1", 0, False, given)


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("https://lab.example:8443/", "lab.example"),
        ("lab.example:8443", "lab.example"),
        ("*.lab.example", "*.lab.example"),
        ("fe80::1", "fe80::1"),
        ("[fe80::1]:8501", "fe80::1"),
    ],
)
def test_an_allowed_host_may_be_an_address_with_its_port(monkeypatch, given, host):
    monkeypatch.setenv("AUTOTUNE_ALLOWED_HOSTS", f"a.example, {given}")

    assert host in serve.settings("127.0.0.1", 1)["server.allowedHosts"]


def test_an_allowed_host_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("AUTOTUNE_ALLOWED_HOSTS", "http://[lab")
    sentence = "AUTOTUNE_ALLOWED_HOSTS must list hosts by comma, as lab.example, got 'http://[lab'"

    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        serve.settings("127.0.0.1", 1)
