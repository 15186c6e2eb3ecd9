"""A user's file may do to its process what a script may; the search stands where it stood."""

import locale
import os
import signal
import sys
import textwrap

import pytest
import torch

import autotune
from autotune.errors import SIGNALS, SpecError
from autotune.studies.store import Store
from autotune.tasks.resolve import resolve
from autotune.tasks.surroundings import Surroundings, taken

FILE = """
import os, sys, signal, locale, warnings
import torch
from autotune import Problem

HERE = os.path.dirname(os.path.abspath(__file__))
{top}

def problem(seed):
    {inside}
    x = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
    batches = list(zip(x.split(8), x.sum(1, keepdim=True).split(8)))

    def loss(model, batch):
        {loss}
        x, y = (part.to(model.weight) for part in batch)
        return torch.nn.functional.mse_loss(model(x), y)

    model = torch.nn.Linear(4, 1, device="cpu")
    return Problem(model=model, train=batches[:5], validation=batches[5:], loss=loss)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two folders, the working directory the first, the file in the second."""
    for name in ("here", "code", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "scale.txt").write_text("1.0")
    (tmp_path / "code" / "data").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def write(place, name="user.py", **parts):
    text = FILE.format(**{"top": "", "inside": "", "loss": "", **parts})
    path = place / "code" / name
    path.write_text(text)
    return f"../code/{name}:problem"


def search(model, **changes):
    asked = {
        "optimizers": ["adamw"], "trials": 2, "steps": 3, "seeds": 2, "finalists": 1,
        "storage": "autotune.db", "engine": "inline", "progress": "off", **changes,
    }  # fmt: skip
    return autotune.tune(model, **asked)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Libraries change some of what is shared when they are imported: here they have been."""
    place = tmp_path_factory.mktemp("imported")
    (place / "code").mkdir()
    write(place)
    search(f"{place}/code/user.py:problem", storage=f"{place}/autotune.db")


MOVES = {
    "folder": {"top": "os.chdir(HERE)"},
    "folder in the loss": {"loss": "os.chdir(HERE)"},
    "folder of a function": {"inside": "os.chdir(HERE); os.chdir('data')"},
    "home": {"top": "os.environ['HOME'] = '/nowhere'"},
    "umask": {"top": "os.umask(0o777)"},
    "environment": {"loss": "os.environ.clear(); os.environ['AUTOTUNE_STORAGE'] = 'other.db'"},
    "path": {"top": "sys.path[:] = [HERE, *sys.path]", "loss": "sys.path.append('/elsewhere')"},
    "arguments": {"top": "sys.argv = ['train', '--epochs', '3']"},
    "locale": {"top": "locale.setlocale(locale.LC_ALL, 'C.UTF-8')"},
    "dtype": {"top": "torch.set_default_dtype(torch.float64)"},
    "device": {"loss": "torch.set_default_device('meta')"},
    "threads": {"top": "torch.set_num_threads(3)", "loss": "torch.set_num_threads(2)"},
    "filters": {"top": "warnings.simplefilter('error')"},
    "streams": {"top": "import io; sys.stdout = sys.stderr = io.StringIO()"},
    "signals": {"top": "[signal.signal(n, signal.SIG_IGN) for n in (2, 15)]"},
}


@pytest.mark.parametrize("moved", MOVES, ids=lambda name: name.replace(" ", "-"))
def test_what_a_users_code_moves_stays_its_own(place, moved, imported):
    before = taken()
    result = search(write(place, **MOVES[moved]))
    assert result.complete
    after = taken()
    assert {name for name in after if after[name] != before[name]} == set()
    assert sorted(os.listdir(place / "here")) == ["autotune.db"]
    assert "autotune.db" not in os.listdir(place / "code")
    assert len(result.trials()) >= 4


def test_a_run_finds_its_process_as_its_file_left_it(place):
    loss = "assert os.getcwd() == HERE and open('data/scale.txt').close() is None"
    (place / "code" / "data" / "scale.txt").write_text("")
    top = "os.chdir(HERE); torch.set_default_dtype(torch.float64); os.environ['MINE'] = 'yes'"
    both = f"{loss}; assert torch.zeros(1).dtype is torch.float64 and os.environ['MINE'] == 'yes'"
    assert search(write(place, top=top, loss=both)).complete
    assert "MINE" not in os.environ
    assert torch.zeros(1).dtype is torch.float32


def test_a_folder_named_from_the_working_directory_is_the_same_for_every_trial(place):
    top = "os.chdir('../data')"
    assert search(write(place, top=top, loss="open('scale.txt').close()")).complete


def test_a_function_that_moves_may_be_called_for_each_trial(place):
    assert search(write(place, inside="os.chdir('../data')")).complete


def test_a_paused_trial_is_saved_and_found_where_the_command_stands(place, monkeypatch):
    monkeypatch.setattr("autotune.training.checkpoint.worth_keeping", lambda *_: True)
    model = write(place, top="os.chdir(HERE)", loss="os.chdir(HERE)")
    saved = []

    def listen(event):
        saved.extend(p.name for p in (place / "here").rglob("*.pt"))

    assert search(model, steps=27, runs=8, trials=None, listen=listen).complete
    assert saved
    assert not list((place / "code").rglob("*.pt"))


def test_images_are_read_from_where_the_command_stands(place):
    (place / "code" / "net.py").write_text(
        textwrap.dedent("""
        import os
        from torch import nn
        os.chdir("/")
        def net():
            os.chdir("/")
            return nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))
        """)
    )
    with pytest.raises(SpecError, match=r"data folder pictures/cats does not exist"):
        resolve("../code/net.py:net", data="pictures/cats")
    (place / "here" / "pictures" / "cats").mkdir(parents=True)
    with pytest.raises(SpecError, match=r"data folder pictures/cats has no folder train"):
        resolve("../code/net.py:net", data="pictures/cats")


def test_our_part_of_a_run_executes_between_its_reports():
    seen = []

    def run():
        for _ in range(2):
            os.environ["OF_A_RUN"] = os.environ.get("OF_A_RUN", "") + "x"
            seen.append(os.environ["OF_A_RUN"])
            yield

    for _ in Surroundings().stepwise(run()):
        assert "OF_A_RUN" not in os.environ
    assert seen == ["x", "xx"]


def test_a_run_that_raises_leaves_its_process_as_it_was():
    before = taken()

    def run():
        os.chdir("/")
        sys.path.insert(0, "/nowhere")
        raise RuntimeError("user")
        yield

    with pytest.raises(RuntimeError, match="user"):
        next(Surroundings().stepwise(run()))
    assert taken() == before


def test_the_stored_search_is_found_by_a_result_that_outlives_a_move(place):
    result = search(write(place, top="os.chdir(HERE)"))
    os.chdir("/")
    assert len(result.trials())
    with Store(str(place / "here" / "autotune.db")) as store:
        assert [each.name for each in store.searches()] == ["problem"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_users_handler_of_a_signal_is_put_back(number):
    before = signal.getsignal(number)
    with Surroundings().entered():
        signal.signal(number, signal.SIG_IGN)
    assert signal.getsignal(number) is before


def test_signals_and_the_locale_are_read_as_this_test_supposes():
    assert {signal.SIGINT, signal.SIGTERM} <= set(taken()["signals"])
    assert taken()["locale"] == locale.setlocale(locale.LC_ALL)
