"""SIGKILL of the service's client at random moments, and of its server while it trains."""

from __future__ import annotations

import runpy

from autotune.client import Client
from autotune.testing.remote import LARGER, by_hand, stored
from autotune.testing.victims import context, kill, served, serving

KILLS = 2  # of one trial three in a row would give it up
SCRIPT = """
import math
import time

from autotune.client import Client

for trial in Client(address, states=folder, patience=60).trials("bowl", worker="gpu7-0"):
    level, extra = abs(math.log10(trial.hyper["lr"] / 3e-3)), trial.seed % 7 / 1000
    for step in range(trial.start + 1, trial.stop + 1):
        time.sleep(0.001)
        if step in trial.evaluate and not trial.report(step, level + 1 / step + extra):
            break
    trial.save({"level": level})
"""


def training(script, **given):
    process = context().Process(target=runpy.run_path, args=(str(script), given), daemon=True)
    process.start()
    return process


def found(url):
    """Return what is stored but the number of tries, of which each killed client costs one."""
    rows = stored(url)
    after = [isinstance(row, tuple) for row in [None, *rows]]
    return [
        row for row, last in zip(rows, after, strict=False) if isinstance(row, tuple) or not last
    ]


def test_a_search_outlives_its_client_and_its_server(places, rounds, moments, tmp_path):
    other, log, script = f"sqlite:///{tmp_path}/by-hand.db", tmp_path / "log", tmp_path / "train.py"
    script.write_text(SCRIPT)
    by_hand(other, LARGER)
    for number in range(rounds):
        url = places()
        server, port = served(url, log)
        given = {"address": f"http://127.0.0.1:{port}", "folder": str(tmp_path / f"s{number}")}
        with Client(given["address"]) as client:
            client.begin("bowl", LARGER)
        for _ in range(KILLS):
            process = training(script, **given)
            process.join(moments())
            kill(process)
        process = training(script, **given)
        process.join(moments())
        kill(server)
        server = serving(url, port, log)
        process.join(120)
        assert process.exitcode == 0
        server.terminate()
        server.join(20)
        assert found(url) == found(other)
