"""Commands beside other processes: the worker that runs one, and ranks that train together."""

from __future__ import annotations

import os
import queue
import signal

import pytest

from autotune.command.channel import Channel
from autotune.command.said import Said
from autotune.engines.processes import Processes
from autotune.testing import victims
from autotune.testing.commands import alive, left, rank
from autotune.testing.habits import eventually, over
from autotune.testing.trials import setting_of
from autotune.training.job import Job, Outcome

ENDLESS = "echo autotune step=1 loss=2; setsid sleep 100 & sleep 100; sleep 100"


@pytest.fixture
def engine(monkeypatch):
    """An engine whose worker starts at once, as all is loaded where it is forked from."""
    context = victims.context()
    monkeypatch.setattr("multiprocessing.get_context", lambda kind: context)
    made = Processes(workers=1)
    yield made
    made.close()


def job(folder, text, **changes):
    task = {
        "model": "command", "data": None, "steps": 9, "batch_size": None, "report": None,
        "metric": {}, "command": ["bash", "-c", f"{text} # {{lr}}"],
    }  # fmt: skip
    fields = {
        "trial": 1, "attempt": 1, "task": task, "optimizer": "adamw",
        "setting": setting_of(hyper={"lr": 0.01}), "seed": 3, "start": 0, "stop": 9, "target": 9,
        "evaluate": (3, 9), "checkpoint": str(folder / "1-0-1.pt"),
    }  # fmt: skip
    return Job(**fields | changes)


def test_a_command_whose_worker_is_killed_ends_with_it(engine, tmp_path):
    engine.submit(job(tmp_path, ENDLESS))
    eventually(lambda: len(alive(tmp_path)) >= 3)
    os.kill(engine._workers[0].process.pid, signal.SIGKILL)
    assert over(engine, Outcome.LOST).reason == "its worker died (SIGKILL)"
    assert left(tmp_path) == []


def test_commands_that_are_paused_or_run_end_with_the_engine(engine, tmp_path):
    engine.submit(job(tmp_path, ENDLESS, stop=1, evaluate=(1, 9)))
    assert over(engine).kept
    assert (tmp_path / "commands/adamw-1.log").read_text() == "autotune step=1 loss=2\n"
    engine.submit(job(tmp_path, ENDLESS, trial=2))
    eventually(lambda: len(alive(tmp_path)) >= 4)  # of the paused one perhaps its shell alone
    engine.close()
    assert left(tmp_path) == []


def test_a_command_has_the_threads_of_its_user(engine, tmp_path):
    engine.submit(job(tmp_path, "echo threads=$OMP_NUM_THREADS hash=$PYTHONHASHSEED; exit 1"))
    assert over(engine).output == ("threads=" + os.environ.get("OMP_NUM_THREADS", "") + " hash=",)


def test_ranks_that_train_together_get_one_answer(tmp_path):
    heard = queue.Queue()
    channel = Channel(heard.put)
    context = victims.context()
    answers = context.Queue()
    arguments = (tmp_path / "met", channel.mark, answers)
    ranks = [context.Process(target=rank, args=(n, *arguments), daemon=True) for n in range(2)]
    for process in ranks:
        process.start()
    for step, go_on in ((1, True), (2, False)):
        asked = heard.get(timeout=30)
        assert asked.said == Said(step=step, loss=float(step))  # of rank 0
        asked.answer(go_on)
        assert sorted(answers.get(timeout=30) for _ in ranks) == [(0, go_on), (1, go_on)]
    for process in ranks:
        process.join(30)
    channel.close()
    assert heard.empty()
