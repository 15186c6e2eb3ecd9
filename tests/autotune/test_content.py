"""What is trained is what the search was begun with: the file and the modules beside it."""

import os
import py_compile
import threading
from pathlib import Path

import pytest

from autotune.errors import AlreadyThere, SpecError
from autotune.search.coordinator import run
from autotune.search.events import TrialEnded
from autotune.studies.records import SearchState, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.tasks.content import beside
from autotune.tasks.function import Function
from autotune.testing.trials import nested
from autotune.training.job import Job, Outcome
from autotune.training.loading import forget
from autotune.training.runner import perform

MODEL = """
import torch
from autotune import Problem
from parts.scale import SCALE
import helper


def net(seed):
    data = torch.linspace(-1, 1, 32).reshape(8, 4, 1)
    return Problem(
        model=torch.nn.Linear(1, 1), train=list(data[:6]), validation=list(data[6:]),
        loss=lambda model, x: helper.loss(model, x) * SCALE,
    )
"""
HELPER = "def loss(model, x):\n    return (model(x) - 3 * x).square().mean()\n"


@pytest.fixture
def file(tmp_path):
    (tmp_path / "net.py").write_text(MODEL)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/__init__.py").write_text("")
    (tmp_path / "parts/scale.py").write_text("from .more import SCALE\n")
    (tmp_path / "parts/more.py").write_text("SCALE = 1.0\n")
    forget()
    return tmp_path / "net.py"


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path}/a.db") as opened:
        yield opened


def spec(file):
    return parse(
        {
            "model": f"{file}:net", "optimizers": ["adamw"], "budget": {"trials": 3}, "steps": 9,
            "engine": "inline",
        }
    )  # fmt: skip


def search(file, store, after=None):
    """Search; ``after`` is called once, when the first trial has ended."""
    ended = []

    def listen(event):
        if isinstance(event, TrialEnded):
            ended.append(event)
            if after and len(ended) == 1:
                after()

    return run(spec(file), store=store, listen=listen, halt=(halt := threading.Event())), halt


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def test_modules_beside_a_file_are_found_however_deep(file):
    found = beside(file, file.read_bytes())
    assert list(found) == ["helper.py", "parts/__init__.py", "parts/more.py", "parts/scale.py"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import torch, autotune, random", []),
        ("def f():\n    import helper", ["helper.py"]),
        ("import importlib\nimportlib.import_module('parts.more')",
         ["parts/__init__.py", "parts/more.py"]),
        ("from parts import more", ["parts/__init__.py", "parts/more.py"]),
        ("from parts import *", ["parts/__init__.py"]),
        ("not python", []),
    ],
)  # fmt: skip
def test_only_what_is_beside_the_file_counts(file, text, names):
    assert list(beside(file, text.encode())) == names


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("net.py", "Linear(1, 1)", "Linear(1, 1, bias=False)"), ("helper.py", "3", "4"),
     ("parts/more.py", "1.0", "9.0")],
)  # fmt: skip
def test_an_edit_during_a_search_ends_it_and_keeps_what_was_run(file, store, name, old, new):
    with pytest.raises(SpecError) as refused:
        search(file, store, lambda: edit(file.parent / name, old, new))
    assert str(refused.value) == (
        f"{name} changed since search 'net' began, which keeps what was run; undo the change to go "
        "on, or give --search NAME (in Python, name=) to begin another one"
    )
    found = store.search("net")
    assert found.state is SearchState.INTERRUPTED
    (kept,) = store.trials(found.studies[0].id)
    assert (kept.state, kept.step > 0) == (TrialState.PAUSED, True)
    edit(file.parent / name, new, old)
    assert search(file, store)[0].search.state is SearchState.COMPLETE


def test_an_edit_of_words_alone_ends_nothing(file, store):
    found, _ = search(file, store, lambda: edit(file.parent / "helper.py", "def", "# why\ndef"))
    assert found.search.state is SearchState.COMPLETE


def test_another_helper_between_two_sittings_is_another_search(file, store):
    search(file, store)
    edit(file.parent / "helper.py", "3", "4")
    with pytest.raises(AlreadyThere, match=r"with another content of helper\.py; give --search"):
        search(file, store)


def test_searches_without_modules_among_their_facts_go_on(file, store, monkeypatch):
    monkeypatch.setattr(Function, "facts", {})
    search(file, store)
    monkeypatch.undo()
    edit(file.parent / "helper.py", "3", "4")
    assert search(file, store)[0].search.state is SearchState.COMPLETE


def job(file, content):
    task = {"model": f"{file}:net", "data": None, "steps": 9, "batch_size": None}
    fields = {
        "trial": 1, "attempt": 1, "task": task, "optimizer": "adamw", "hyper": {}, "warmup": 0.1,
        "seed": 3, "start": 0, "stop": 9, "target": 9, "evaluate": (9,), "content": content,
    }  # fmt: skip
    return Job(**nested(**fields))


def test_a_worker_with_another_checkout_does_not_train(file):
    own = Function(f"{file}:net")
    expected = {"net.py": own.sha256, **own.modules}
    assert list(perform(job(file, expected), lambda: False))[-1].outcome is Outcome.REACHED
    edit(file.parent / "helper.py", "3", "4")
    report = list(perform(job(file, expected), lambda: False))[-1]
    assert report.outcome is Outcome.FAILED
    assert report.reason.startswith(
        "SpecError: helper.py on this machine is not what the search was begun with: it was edited"
    )


def losses(file):
    own = Function(f"{file}:net")
    found = list(perform(job(file, {"net.py": own.sha256, **own.modules}), lambda: False))
    return found[-1].points[-1].loss


def test_an_edited_helper_is_imported_anew_in_the_same_process(file):
    before = losses(file)
    edit(file.parent / "parts/more.py", "1.0", "9.0")
    assert losses(file) > 2 * before


@pytest.mark.parametrize(("name", "old"), [("helper.py", "3 * x"), ("net.py", "* SCALE")])
def test_an_edit_that_a_compiled_file_cannot_tell_is_seen(file, name, old):
    path = file.parent / name
    edit(path, old, old + " * 1")
    before, times = losses(file), os.stat(path)
    py_compile.compile(str(path))
    edit(path, old + " * 1", old + " * 9")  # of the same length, at the same moment
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert losses(file) > 2 * before


def test_a_link_to_another_file_is_another_content(file, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "helper.py").write_text(HELPER.replace("3", "5"))
    before = beside(file, file.read_bytes())
    (tmp_path / "helper.py").unlink()
    Path(tmp_path / "helper.py").symlink_to(other / "helper.py")
    assert beside(file, file.read_bytes())["helper.py"] != before["helper.py"]
