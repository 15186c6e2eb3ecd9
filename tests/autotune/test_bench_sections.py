"""What ``benchmarks/gpu.sh`` runs, as far as it can be tried without a GPU and without packages."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import runpy
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest
import torch

from autotune.bench.gpu import replicas, section, sections, training
from autotune.bench.gpu.section import Found, Section, measure, tried
from autotune.bench.gpu.training import Mode, Trainer, supervised
from autotune.optimizers import create
from autotune.optimizers.groups import split
from autotune.registry import names

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

# A GPU machine has PyTorch and pytest; these it may lack.
LACKING = """
import sys


class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"alembic", "optuna", "pydantic", "sqlalchemy", "streamlit"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Lacking())
"""

ROWS = """
import os
import time


def fails(late):
    yield {"row": 1}
    raise ValueError("no\\n  more")


def dies(late):
    yield {"row": 1}
    os._exit(3)


def hangs(late):
    yield {"row": 1}
    time.sleep(600)


def goes_on(late):
    yield {"row": 1}
    while not late():
        time.sleep(0.01)
    yield {"row": 2}
    yield {"row": 3}


def ends(late):
    yield {"row": 1}
"""


@pytest.fixture
def bare(tmp_path):
    """The environment of Python on such a machine."""
    (tmp_path / "sitecustomize.py").write_text(LACKING)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }


def run(bare, *arguments):
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=BENCHMARKS.parent,
        env=bare,
        capture_output=True,
        check=False,
        text=True,
    )


def test_the_gpu_s_tests_are_collected_where_packages_lack(bare):
    where = ("tests/gpu", "tests/autotune/test_bench_gpu.py")
    done = run(bare, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *where)
    assert done.returncode == 0, done.stdout
    assert "test_the_host_never_waits[adan]" in done.stdout
    assert "test_a_row_tells_host_time_and_memory_on_a_gpu" in done.stdout


def test_a_section_is_measured_printed_and_saved_where_packages_lack(bare, tmp_path):
    path = tmp_path / "gpu.json"
    script = str(BENCHMARKS / "gpu.py")
    done = run(bare, script, "--device", "cpu", "--only", "bandwidth", "--save", str(path))
    assert done.returncode == 0, done.stderr
    assert "stream                            MB    GB/s\n" in done.stdout
    document = json.loads(path.read_text(encoding="utf-8"))
    (found,) = document["sections"]
    assert (document["device"], found["name"], found["error"]) == ("cpu", "bandwidth", None)
    assert min(row["GB/s"] for row in found["rows"]) > 0


def test_a_checkout_that_is_not_installed_has_its_entry_points(tmp_path):
    runpy.run_path(str(BENCHMARKS / "checkout.py"))["link"](tmp_path)
    (found,) = Distribution.discover(path=[str(tmp_path)])
    assert (found.name, found.version) == ("adan-autotune", "0.1.0")
    tasks = found.entry_points.select(group="autotune.tasks")
    assert sorted(tasks.names) == names("autotune.tasks")
    assert (tmp_path / "autotune" / "optimizers" / "adan.py").is_file()


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """What a section of the rows above comes to."""
    (tmp_path / "made_up_rows.py").write_text(ROWS)
    monkeypatch.syspath_prepend(tmp_path)
    import made_up_rows

    def of(name, seconds):
        if name == "hangs":  # the others end by themselves, however late a busy machine begins them
            monkeypatch.setattr(section, "_GRACE", 1.0)
        return measure(Section(name=name, seconds=seconds, rows=getattr(made_up_rows, name)), 90.0)

    return of


@pytest.mark.parametrize(
    ("name", "seconds", "rows", "error"),
    [
        ("ends", 60.0, 1, None),
        ("fails", 60.0, 1, "ValueError: no more"),
        ("dies", 60.0, 1, "its process died"),
        ("hangs", 10.0, 1, "its time was up"),  # long enough for a busy machine to begin it
        ("goes_on", 5.0, 2, "its time was up"),
    ],
)
def test_a_section_keeps_the_rows_it_had(measured, name, seconds, rows, error):
    found = measured(name, seconds)
    assert found.rows == tuple({"row": k + 1} for k in range(rows))
    assert found.error == error
    assert found.seconds < 60


def test_no_section_is_begun_where_no_time_is_left():
    found = measure(Section(name="late", seconds=10.0, rows=lambda late: [{"row": 1}]), left=1.0)
    assert found == Found(name="late", seconds=0.0, rows=(), error="no time was left")


def test_a_row_that_fails_stops_no_other():
    assert tried({"task": "mlp"}, lambda: {"ms": 1.0}) == {"task": "mlp", "ms": 1.0}
    assert tried({"task": "mlp"}, lambda: {"ms": 1 / 0}) == {
        "task": "mlp",
        "error": "ZeroDivisionError: division by zero",
    }


def test_a_section_is_told_as_a_table_and_its_failures_below():
    rows = ({"task": "mlp", "ms": 1.5}, {"task": "gpt", "error": "RuntimeError: no"})
    found = Found(name="training", seconds=2.4, rows=rows, error="its time was up")
    told = runpy.run_path(str(BENCHMARKS / "gpu.py"))["told"](found)
    assert told.splitlines() == [
        "training (2 s)",
        "task  ms",
        "mlp   1.5",
        "not measured: gpt, RuntimeError: no",
        "ended early: its time was up",
    ]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_every_section_can_be_sent_to_its_process(device):
    planned = sections.on(device)
    assert len({each.name for each in planned}) == len(planned)
    for each in planned:
        sent = pickle.loads(pickle.dumps(each))
        inspect.signature(sent.rows).bind(lambda: False)


def test_a_task_on_the_device_learns_what_the_engine_s_run_learns():
    task = supervised("mlp")
    trainer, run = Trainer(task, "cpu", Mode()), task.start(0)
    optimizer = create("adan", split(run.model, 0.02), lr=0.01)
    for step in range(3):
        trainer.step(step)
        optimizer.zero_grad()
        loss = run.loss(step)
        loss.backward()
        optimizer.step()
        assert torch.equal(trainer.losses[step], loss)


def test_losses_of_one_device_do_not_part():
    (row,) = training.agreement(("mlp",), 2, "cpu", lambda: False)
    assert row == {"task": "mlp", "steps": 2, "first": 0.0, "most": 0.0, "last": 0.0}


def test_training_and_replicas_are_told_as_settings_a_minute():
    rows = [*training.modes(("mlp",), "cpu", lambda: False)]
    rows += replicas.batched(("mlp",), (2,), "cpu", lambda: False)
    assert [row.get("mode") for row in rows] == ["eager float32", "eager bfloat16", None]
    assert min(row["settings/min"] for row in rows) > 0
