"""SIGKILL of a search at random moments while commands of the user's run for it."""

from __future__ import annotations

import sys

import pytest

from autotune.search.coordinator import run
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.commands import left
from autotune.testing.victims import searching

SCRIPT = """
import json, math, subprocess, sys, time

setting = json.load(open(sys.argv[1]))
subprocess.Popen(["sleep", "1000"], start_new_session=True)  # as torchrun starts its ranks
lr, seed = setting["hyper"]["lr"], setting["seed"] % 97
for step in (1, 3, 9, 27):
    time.sleep(0.02)
    print(f"autotune step={step} loss={abs(math.log10(lr) + 2) + 1 / step + seed / 1e3}")
"""


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    script = tmp_path_factory.mktemp("script") / "train.py"
    script.write_text(SCRIPT)
    return {
        "command": [sys.executable, "-S", str(script), "{json}"],
        "name": "net",
        "optimizers": ["adamw"],
        "budget": {"runs": 8},
        "finalists": 1,
        "seeds": 2,
        "steps": 27,
        "engine": "inline",
    }


@pytest.fixture(scope="session")
def alone(command, read, tmp_path_factory):
    """What the search finds when nothing is done to it."""
    with Store(f"sqlite:///{tmp_path_factory.mktemp('alone')}/autotune.db") as store:
        run(parse(command), store=store)
        return read(store)


def test_a_killed_search_leaves_no_process_and_ends_as_if_undisturbed(
    command, alone, judge, rounds, moments, tmp_path
):
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        for _ in range(2):
            process = searching(command, f"sqlite:///{folder}/autotune.db")
            process.join(moments())
            process.kill()
            process.join(10)
            assert left(folder) == []
        with Store(f"sqlite:///{folder}/autotune.db") as store:
            run(parse(command), store=store)
            judge("SIGKILL of a search of commands", store, alone)
        assert left(folder) == []
