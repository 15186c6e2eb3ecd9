"""A user's file, and what runs it: an engine in this process, or the command in one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from textwrap import dedent

import pytest

from autotune.engines.processes import Processes
from autotune.testing.forked import Forked
from autotune.testing.habits import HEAD
from autotune.training import checkpoint


@pytest.fixture
def write(tmp_path):
    """Write a user's file, which has ``problem`` and what is given; return its path."""

    def put(body, name="mine.py"):
        path = tmp_path / name
        path.write_text(HEAD + dedent(body))
        return path

    return put


@pytest.fixture(scope="module")
def shared():
    """An engine with one worker, which tests of a module share."""
    engine = Processes(workers=1)
    yield engine
    engine.close()


@pytest.fixture
def command(tmp_path):
    """Start the command as the leader of a process group, in the test's folder."""
    started = []

    def begin(*words, **how):
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
        program = [sys.executable, "-P", "-m", "autotune", *map(str, words)]
        # Tests that run under nohup have SIGHUP ignored, and so would the command.
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            process = subprocess.Popen(program, cwd=tmp_path, start_new_session=True, **how)
        finally:
            signal.signal(signal.SIGHUP, before)
        started.append(process)
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def forked(tmp_path):
    """Start the command likewise, but at once: workers tell nothing of theirs on its stderr."""
    started = []

    def begin(*words, **how):
        started.append(Forked(*map(str, words), folder=tmp_path, **how))
        return started[-1]

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def saving(monkeypatch):
    """Save even the smallest model's state, as that of a large one is."""
    monkeypatch.setattr(checkpoint, "worth_keeping", lambda *_: True)
