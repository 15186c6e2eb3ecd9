"""The user's file is imported as Python runs a script, whatever it is called and imports."""

import os
import pickle
import sys
import textwrap

import pytest

import autotune
from autotune.errors import SpecError
from autotune.studies.spec import parse
from autotune.tasks.function import Function
from autotune.tasks.resolve import resolve

PROBLEM = """
    import torch
    from autotune import Problem
    {top}

    def problem(seed):
        def loss(model, x):
            {loss}
            return (model(x) - x).square().mean()

        x = torch.linspace(-1, 1, 48).reshape(6, 8, 1)
        return Problem(
            model=torch.nn.Linear(1, 1), train=list(x[:5]), validation=list(x[5:]), loss=loss
        )
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def written(name, text=None, **parts):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = PROBLEM.format(**{"top": "", "loss": "", **parts}) if text is None else text
        path.write_text(textwrap.dedent(text))
        return f"{name}:problem"

    yield written
    for name in [n for n, m in sys.modules.items() if str(tmp_path) in str(m)]:
        del sys.modules[name]


def search(model, **changes):
    asked = {
        "optimizers": ["adamw"], "trials": 2, "steps": 3, "seeds": 2, "finalists": 1,
        "engine": "inline", "progress": "off", **changes,
    }  # fmt: skip
    return autotune.tune(model, **asked)


def test_a_loss_imports_a_module_beside_its_file(write):
    write("code/imported_late.py", "FACTOR = 2")
    before = list(sys.path)
    loss = "import imported_late; assert imported_late.FACTOR == 2"
    assert search(write("code/late.py", loss=loss)).complete
    assert sys.path == before


@pytest.mark.parametrize("folder", ["lab", "lab/deep"])
def test_a_file_of_a_package_imports_its_neighbours(write, folder):
    for part in ("lab", folder):
        write(f"{part}/__init__.py", "")
    write(f"{folder}/parts.py", "FACTOR = 3")
    write("lab/above.py", "FACTOR = 4")
    top = "from .parts import FACTOR; import lab.above"
    assert search(write(f"{folder}/train.py", top=top, loss="from . import parts")).complete


@pytest.mark.parametrize("late", [False, True], ids=["at the top", "in the loss"])
def test_a_relative_import_outside_a_package_says_what_to_do(write, late, tmp_path):
    write("parts.py", "FACTOR = 3")
    model = write("alone.py", **{"loss" if late else "top": "from .parts import FACTOR"})
    with pytest.raises(SpecError) as refused:
        search(model)
    assert str(refused.value).endswith(
        "no known parent package; import it without the dot, or put an __init__.py into its folder"
    )
    write("__init__.py", "")
    assert search(model).complete


def test_a_dotted_name_is_a_module_below_the_working_directory(write):
    write("bench/__init__.py", "")
    write("bench/fit.py")
    assert parse({"model": "bench.fit:problem"}).search_name == "problem"
    assert search("bench.fit:problem").name == "problem"
    assert resolve("bench.fit:problem").facts()["model"] == "bench.fit:problem"


def test_a_dotted_name_of_nothing_says_where_it_was_looked_for(write, tmp_path):
    with pytest.raises(SpecError) as refused:
        resolve("no.such_module:problem")
    assert str(refused.value) == (
        f"cannot find module no.such_module of model 'no.such_module:problem' in {tmp_path} or "
        "among what is installed; give the path of its file: path/to/file.py:function"
    )


@pytest.mark.parametrize(
    "top",
    [
        "import argparse; argparse.ArgumentParser().parse_args()",
        "import sys; assert len(sys.argv) == 1 and sys.argv[0].endswith('/parsed.py')",
        "import sys; EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3",
    ],
    ids=["argparse", "argv", "optional"],
)
def test_arguments_of_the_command_are_not_the_files(write, monkeypatch, top):
    arguments = ["autotune", "search", "--model", "parsed.py:problem"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert search(write("parsed.py", top=top)).complete
    assert sys.argv == arguments


def test_the_main_block_of_a_file_is_not_run(write):
    model = write("guarded.py", top="if __name__ == '__main__': raise SystemExit('training')")
    assert resolve(model).name == "guarded-problem"


def test_paths_beside_the_file_and_of_the_working_directory_are_found(write, tmp_path):
    write("code/beside.txt", "1")
    write("here.txt", "2")
    loss = "open(HERE / 'beside.txt').close(); open('here.txt').close()"
    top = "from pathlib import Path; HERE = Path(__file__).parent; assert HERE.is_absolute()"
    assert search(write("code/paths.py", top=top, loss=loss)).complete


@pytest.mark.parametrize("name", ["autotune", "torch", "queue", "sched", "numpy"])
def test_a_file_may_be_called_like_a_library(write, name):
    sys.modules.pop("sched", None)
    loss = f"import {name} as library; assert 'user' not in library.__name__; import sched"
    model = write(f"{name}.py", loss=f"{loss}; assert hasattr(sched, 'scheduler')")
    assert search(model, name="named").complete


def test_classes_of_the_file_are_pickled_and_dataclasses_made(write):
    top = "from dataclasses import dataclass\n    @dataclass\n    class Batch:\n        x: int"
    function = Function(write("classes.py", top=top))
    made = function._found.__globals__["Batch"](3)
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_package_of_the_name_of_another_is_imported_as_a_script(write):
    write("json/__init__.py", "")
    model = write("json/fit.py", top="import json; assert json.dumps(1) == '1'")
    assert resolve(model).name == "fit-problem"


def test_a_file_that_fails_to_import_leaves_no_trace(write):
    before = (os.getcwd(), list(sys.path), list(sys.argv), set(sys.modules))
    model = write("failing.py", top="import os; os.chdir('/'); raise RuntimeError('no')")
    with pytest.raises(SpecError, match=r"cannot import .*failing\.py: RuntimeError: no") as told:
        resolve(model)
    assert "failing.py" in told.value.__notes__[0]
    assert (os.getcwd(), list(sys.path), list(sys.argv)) == before[:3]
    assert not [name for name in set(sys.modules) - before[3] if "failing" in name]


def test_a_file_that_hides_a_library_that_is_needed_is_refused_before_anything_is_stored(
    write, tmp_path
):
    model = write("mine.py")
    write("torch.py", "")
    with pytest.raises(SpecError, match=r"torch\.py hides the library torch: rename it$"):
        search(model)
    assert not (tmp_path / "autotune.db").exists()


def test_another_library_that_is_hidden_is_named_with_the_error(write):
    model = write("mine.py", top="import plistlib; plistlib.dumps")
    write("plistlib.py", "")
    with pytest.raises(SpecError, match=r"'dumps'; /.*/plistlib\.py hides the library plistlib: r"):
        search(model)


def test_a_module_that_has_the_name_of_a_library_is_the_files_own(write):
    import copy

    top = "import copy; assert copy.MINE"
    model = write("mine.py", top=top, loss="import copy; assert copy.MINE")
    write("copy.py", "import types; from types import *; deepcopy = copy = Error = MINE = True")
    assert search(model).best is not None
    assert sys.modules["copy"] is copy
