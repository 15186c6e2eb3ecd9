"""Machines of a Ray cluster that vanish while they run trials."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from autotune.search.coordinator import run
from autotune.search.events import TrialEnded, TrialStarted
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.clusters import cluster

# Trained elsewhere, where no test can patch anything: the model's own file has small states kept,
# and a step wait while there is a file of the name "hold".
FAR = """
from pathlib import Path
from autotune.training import checkpoint

checkpoint.worth_keeping = lambda *_: True
checkpoint.SPARE_BYTES = 0.0
hold = Path(__file__).with_name("hold")


def wait(seconds):
    while hold.exists():
        hold.with_name("held").touch()
        time.sleep(0.01)
    time.sleep(seconds)
"""


@pytest.fixture
def far(spec, tmp_path):
    """The search of these tests, with a file that workers elsewhere can be watched by."""
    path = tmp_path / "mytask.py"
    task = Path(spec["model"].rpartition(":")[0]).read_text()
    path.write_text(task.replace("time.sleep", "wait") + FAR)
    return {**spec, "model": f"{path}:problem"}


def test_a_lost_machine_changes_nothing(one_ray, tmp_path, far, undisturbed, judge, troubles):
    heard, threads, added = [], [], []

    def vanish():
        while not (tmp_path / "held").exists():
            time.sleep(0.01)
        time.sleep(1)  # until it is heard where the trial runs: else it would only be begun again
        machines.lose()
        (tmp_path / "hold").unlink()

    def listen(event):
        heard.append(event)
        if isinstance(event, TrialStarted) and event.trial.step and not threads:
            (tmp_path / "hold").touch()
            threads.append(threading.Thread(target=vanish))
            threads[0].start()
        if isinstance(event, TrialEnded) and event.trial.reason and not added:
            added.append(machines.add())

    with cluster(cpus=0) as machines:
        machines.add()
        where = {"engine": "ray", "workers": 1, "ray": {"address": machines.address}}
        with Store(str(tmp_path / "autotune.db")) as store:
            run(parse({**far, **where}), store=store, listen=listen)
            judge("machine of a Ray cluster lost", store, undisturbed)
    # It went on from the state that was saved before: there is no word of steps taken again.
    assert troubles(heard) == ["adan trial 2: its machine left the Ray cluster"]
