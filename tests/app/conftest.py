from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.request import urlopen

import pytest

from autotune.studies.records import Point, TrialState
from autotune.testing import sample
from autotune.testing.trials import search_trial


@pytest.fixture(scope="session")
def sample_url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('sample')}/autotune.db"
    sample.make(url)
    return url


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
def _serving(url, home):
    settings = {key: value for key, value in os.environ.items() if not key.startswith("STREAMLIT_")}
    command = ["-m", "autotune", "dashboard", "--storage", url, "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-P", *command],
        env={**settings, "HOME": str(home)},
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
