"""Searches as people run them: the command in a shell, its workers, and what it says to do next."""

import json
import os
import shlex
import subprocess
import sys
import textwrap

import pytest

FILE = """
import argparse
import os
import sys
import torch
from autotune import Problem

HERE = os.path.dirname(os.path.abspath(__file__))
OPTIONS = argparse.ArgumentParser().parse_args()
print("imported in", os.getcwd(), file=sys.stderr)
os.chdir("../data")
torch.set_num_threads(3)
os.environ["HOME"] = "/nowhere"

def problem(seed):
    x = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
    batches = list(zip(x.split(8), x.sum(1, keepdim=True).split(8)))

    def loss(model, batch):
        import beside
        assert os.getcwd().endswith("/data") and os.path.exists("scale.txt")
        beside.check(os.path.join(HERE, "mount"))
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1])

    return Problem(
        model=torch.nn.Linear(4, 1), train=batches[:5], validation=batches[5:], loss=loss
    )
"""
# What is missing is missing in workers alone: the first look is taken before.
BESIDE = """
import multiprocessing, os

def check(path):
    if multiprocessing.parent_process() is not None:
        os.stat(path)
"""


@pytest.fixture
def place(tmp_path):
    for name in ("here", "code", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "scale.txt").touch()
    (tmp_path / "code" / "train.py").write_text(textwrap.dedent(FILE))
    (tmp_path / "code" / "beside.py").write_text(BESIDE)
    return tmp_path


def _run(place, command):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AUTOTUNE_")}
    words = [sys.executable, "-P", "-m", *shlex.split(command)]
    return subprocess.run(
        words, cwd=place / "here", env=environment, capture_output=True, text=True, check=False
    )


def test_a_file_that_moves_its_process_is_searched_and_mended_from_where_one_stands(place):
    command = (
        "autotune search --model ../code/train.py:problem --optimizer adamw --trials 2 --steps 9 "
        "--seeds 2 --workers 1 --storage studies.db --json"
    )
    failed = _run(place, command)
    assert failed.returncode == 5
    assert "No such file or directory" in failed.stderr
    assert "repeat the command: what failed is tried again" in failed.stderr
    assert sorted(os.listdir(place / "here")) == ["studies.db"]
    (place / "code" / "mount").touch()
    mended = _run(place, command)
    assert mended.returncode == 0, mended.stderr
    assert "3 trials that failed are tried again" in mended.stderr
    assert f"imported in {place}/here\n" in mended.stderr
    assert f"imported in {place}/data" not in mended.stderr
    following = json.loads(mended.stdout)["next"]
    exported = _run(place, following["export"] + " -o tuned.py")
    assert exported.returncode == 0, exported.stderr
    assert sorted(os.listdir(place / "here")) == ["studies.db", "tuned.py"]
    assert sorted(os.listdir(place / "data")) == ["scale.txt"]
