"""compose.yaml and the Dockerfile, as far as they can be read without Docker."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from autotune.cli import main

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
IMAGE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def parsed(words):
    """Return a command's options as its words say them; raises where it does not know one."""
    context, rest = click.Context(main, **main.context_settings), list(words)
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(context, rest)
        # With the parent, as click keeps the words for help that a command was made with first.
        if isinstance(command, click.Group):
            context = click.Context(command, parent=context)
        else:
            context = command.make_context(name, rest, parent=context)
    return context.params


def test_a_database_a_server_a_dashboard_and_two_workers_are_started():
    assert set(SERVICES) == {"database", "tokens", "server", "dashboard", "worker"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= set(SERVICES) - {name}
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"], volume
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
        assert service.get("image") == ("postgres:17" if name == "database" else "autotune")


@pytest.mark.parametrize("name", ["server", "dashboard"])
def test_their_commands_are_known(name):
    assert "0.0.0.0" in str(parsed(SERVICES[name]["command"]))


def test_the_scripts_of_the_others_call_what_there_is():
    make, work = (SERVICES[name]["command"][0] for name in ("tokens", "worker"))
    words = shlex.split(make.split("||")[1].partition(">")[0])
    assert words[0] == "autotune"
    assert parsed(words[1:])["scope"] == "work"
    script = re.search(r"python /opt/autotune/(\S+) http://server:8400", work)
    assert (ROOT / script[1]).is_file()
    assert SERVICES["server"]["environment"]["AUTOTUNE_ALLOWED_HOSTS"] == "server"


def test_the_image_installs_what_there_is_and_serves_by_default():
    extras = set(re.search(r"/opt/autotune\[([\w,]+)\]", IMAGE)[1].split(","))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras)
    command = yaml.safe_load(re.search(r"^CMD (.*)$", IMAGE, re.M)[1])
    assert parsed(command)["plain_http"]
    assert "USER 1000" in IMAGE
