"""Each example ends with a verdict; those of libraries that are not installed are skipped."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest

import autotune
from autotune.testing.victims import served

EXAMPLES = Path(__file__).parents[2] / "examples"
SLOW = pytest.mark.skipif(not os.environ.get("INTEGRATIONS"), reason="make integrations runs it")


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """A folder to run examples in, which are found as a script in their own folder finds them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delenv("AUTOTUNE_STORAGE", raising=False)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == EXAMPLES:
            del sys.modules[name]


def example(name, needs=None):
    if needs is not None and find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    return importlib.import_module(name)


def judged(result):
    """Return whether a search came to its end, and judged each optimizer on three seeds."""
    seeds = [row.tuned.loss.n for row in result.rows]
    return result.complete and len(seeds) == 2 and min(seeds) >= 3 and bool(result.verdict)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:.*num_workers", "ignore:.*set_vital")
@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("hf_trainer", "accelerate"),
        ("lightning_module", "lightning"),
        ("accelerate_loop", "accelerate"),
        ("datasets_on_disk", "torchdata"),
    ],
)
def test_a_loop_that_asks_and_tells_ends_with_a_verdict(name, needs):
    assert judged(example(name, needs).main(trials=2, steps=9))


@pytest.mark.parametrize("model", ["generator.py:train", "streamed.py:problem"])
def test_a_file_is_searched_to_a_verdict(model):
    given = {"optimizers": ["adan", "adamw"], "trials": 2, "steps": 9, "progress": "off"}
    assert judged(autotune.tune(f"{EXAMPLES}/{model}", engine="inline", **given))


def test_paused_trials_go_on_and_the_same_script_again_only_reads(monkeypatch, capfd):
    starts = []
    ask_tell = example("ask_tell")
    train = ask_tell.train
    monkeypatch.setattr(ask_tell, "train", lambda t: (starts.append((t.start, t.state)), train(t)))
    first = ask_tell.main(trials=4, steps=27)
    assert judged(first)
    assert {start for start, state in starts if state is not None} == {3, 9}
    count = len(starts)
    capfd.readouterr()
    assert repr(ask_tell.main(trials=4, steps=27)) == repr(first)
    assert "trial" not in capfd.readouterr().err
    assert len(starts) == count


def test_optuna_s_study_finds_a_setting():
    study = example("optuna_study").main(trials=8, steps=18)
    assert len(study.trials) == 8
    assert study.best_value < 1.5


@SLOW
@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["torch.distributed.run", "--nproc-per-node", "2", "ddp.py"], "ddp"),
        (["accelerate.commands.launch", "--num_processes", "2", "--cpu", "accelerate_loop.py"], ""),
    ],
)
def test_two_processes_train_each_trial_together(command, name):
    *words, script = command
    done = subprocess.run(
        [sys.executable, "-m", *words, EXAMPLES / script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert autotune.load(name or "accelerate").complete
    assert "validation loss" in done.stdout


@SLOW
@pytest.mark.parametrize("file", ["command.py", "train.sh"])
def test_a_command_is_searched_as_the_file_says(file):
    text = (EXAMPLES / file).read_text("utf-8")
    said = re.search(r"autotune (search .*?[^\\])\n", text, re.S)[1]
    words = shlex.split(re.sub(r"\\\n[#\s]*", "", said).replace(file, str(EXAMPLES / file)))
    words[words.index("--trials") + 1] = "2"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "autotune", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = autotune.load(words[words.index("--search") + 1]).rows
    assert row.tuned.loss.n >= 3


def changed(before, after):
    """Return the lines of a script that are not in the one before it, docstrings left out."""
    import difflib

    old, new = (
        (EXAMPLES / name).read_text("utf-8").split('"""', 2)[2].splitlines()
        for name in (before, after)
    )
    return [line[2:] for line in difflib.ndiff(old, new) if line.startswith("+ ")]


def test_a_plain_script_becomes_a_generator_in_eight_lines_and_a_command_in_one():
    assert 0 < len(changed("plain.py", "generator.py")) <= 8
    assert len(changed("plain.py", "command.py")) == 1


def test_the_page_s_study_runs_as_printed():
    page = (EXAMPLES.parent / "docs/integrations.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    (block,) = (block for block in blocks if "n_trials=30" in block)
    names = {"train": lambda build, schedule: [(100, 2.0), (500, 1.0)]}
    exec(block.replace("n_trials=30", "n_trials=2"), names)
    assert names["study"].best_value == 1.0


@SLOW
def test_a_worker_of_the_service_trains_its_search_to_verdicts(tmp_path):
    server, port = served(f"sqlite:///{tmp_path}/autotune.db", tmp_path / "log")
    found = example("service_worker", "httpx2").main(f"http://127.0.0.1:{port}", 2, 9)
    assert all(one["complete"] and len(one["seeds"]) == 3 for one in found)
    server.terminate()
    server.join(20)
    assert server.exitcode in {0, -15}
