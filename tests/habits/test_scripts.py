"""A search from a script that has no main guard, or from no file at all."""

from __future__ import annotations

import subprocess
import sys

from autotune.engines.processes import Processes
from autotune.tasks.user_modules import help_spawned
from autotune.testing.habits import ended, job

SELF = """
import autotune

print(autotune.tune("mine.py:problem", optimizers=["adamw"], trials=2, steps=9, engine="{}"))
"""
TAKEN = """
import autotune
from autotune.search.coordinator import run
from autotune.studies.spec import parse
from autotune.studies.store import Store

spec = {"model": "mine.py:problem", "optimizers": ["adamw"], "budget": {"trials": 2}, "steps": 9}
with Store("autotune.db") as store:
    print(run(parse(spec), store=store).search.state)

def problem():
    raise AssertionError("this function is not the file's")

try:
    autotune.tune(problem, trials=2, engine="processes")
except autotune.errors.SpecError as error:
    print(error)
"""


def python(*words, folder, text=None):
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=folder, input=text, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_file_that_searches_when_it_is_imported_is_told_so(write, tmp_path):
    done = python(write(SELF.format("processes")), folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "mine.py begins a search when it is imported, and each search and each worker imports it; "
        'put what begins the search under: if __name__ == "__main__":\n'
    )
    assert done.stderr.count("begins a search") == 1
    assert not (tmp_path / "autotune.db").exists()


def test_a_script_without_a_guard_and_without_a_file_searches(write, tmp_path):
    write("")
    done = python("-", folder=tmp_path, text=TAKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "complete",
        "problem cannot be sent to the workers of engine 'processes', as it is defined in "
        "__main__, the script or notebook that runs; put it at the top of a file of its own, or "
        "use engine='inline'",
    ]


def test_a_worker_starts_beside_files_that_have_the_names_of_what_it_needs(
    write, tmp_path, monkeypatch
):
    path = write("assert 'PYTHONSAFEPATH' not in os.environ\nmine = problem")
    for name in ("autotune", "pickle"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    help_spawned(f"{path}:mine")
    engine = Processes(workers=1)
    try:
        (report,) = ended(engine, job(path))
    finally:
        engine.close()
    assert report.outcome == "reached", report.reason
