"""What a user mends is found mended: no search keeps failing for what is no longer wrong."""

import os
import re
import textwrap

import pytest
import torch

import autotune
from autotune.cli import main
from autotune.errors import AlreadyThere, NothingUsable, SpecError
from autotune.search.events import Notice, TrialEnded
from autotune.search.worker import Terms, TooManyFailures, work
from autotune.studies.records import TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store

FILE = """
import os
import torch
from autotune import Problem

HERE = os.path.dirname(os.path.abspath(__file__))

def problem(seed):
    x = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    batches, calls = list(zip(x.split(8), y.split(8))), []

    def loss(model, batch):
        calls.append([w.detach().clone() for w in model.parameters()])
        {loss}
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1])

    def accuracy(model, batch):
        {accuracy}
        return 0.5

    return Problem(
        model=torch.nn.Linear(4, 1), train=batches[:5], validation=batches[5:],
        loss=loss, accuracy=accuracy,
    )
"""
MOUNT = 'if len(calls) > 3: os.stat(os.path.join(HERE, "mount"))'


@pytest.fixture
def write(tmp_path):
    def written(loss="pass", accuracy="pass"):
        path = tmp_path / "mended.py"
        path.write_text(FILE.format(loss=loss, accuracy=accuracy))
        return f"{path}:problem"

    return written


@pytest.fixture
def search(tmp_path):
    def searched(model, **changes):
        asked = {
            "optimizers": ["adamw"], "trials": 3, "steps": 9, "seeds": 2, "finalists": 1,
            "engine": "inline", "storage": f"{tmp_path}/autotune.db", **changes,
        }  # fmt: skip
        return autotune.tune(model, progress="off", **asked)

    return searched


def _trials(tmp_path, name="problem"):
    with Store(f"{tmp_path}/autotune.db") as store:
        return [t for study in store.search(name).studies for t in store.trials(study.id)]


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ({"loss": "return los"}, "NameError: name 'los' is not defined"),
        ({"loss": "batch[2]"}, "IndexError: tuple index out of range"),
        ({"accuracy": "1 / 0"}, "ZeroDivisionError: division by zero"),
        ({"loss": "import sys; sys.exit('no data')"}, "SystemExit: no data"),
    ],
    ids=["name", "index", "accuracy", "exit"],
)
def test_a_mistake_in_the_loss_is_told_before_anything_is_stored(
    write, search, tmp_path, where, what
):
    with pytest.raises(SpecError, match=rf"mended\.py:problem raised {what}") as told:
        search(write(**where))
    assert os.listdir(tmp_path) == ["mended.py"]
    [note] = told.value.__notes__
    assert note.splitlines()[0].endswith(("in loss", "in accuracy"))
    assert "autotune/tasks" not in note


def test_a_loss_without_a_gradient_is_told_before_anything_is_stored(write, search):
    with pytest.raises(SpecError, match=r"must depend on the model's parameters, got a number"):
        search(write(loss="return torch.ones(())"))


def test_a_loss_that_differentiates_is_told_why_measuring_it_fails(write, search):
    own = "batch = batch[0].requires_grad_(), batch[1]; y = model(batch[0]).sum()"
    with pytest.raises(SpecError, match=r"compute it in torch\.enable_grad\(\)\n"):
        search(write(loss=f"{own}; torch.autograd.grad(y, batch[0], create_graph=True)"))


def test_the_first_look_at_a_module_tries_its_gradient_too(tmp_path, search):
    path = tmp_path / "net.py"
    path.write_text(
        textwrap.dedent("""
        import torch

        class Net(torch.nn.Module):
            def __init__(self, classes):
                super().__init__()
                self.head = torch.nn.Linear(3072, classes)

            def forward(self, x):
                if self.training:
                    raise KeyError("only in training")
                return self.head(x.flatten(1))
        """)
    )
    with pytest.raises(SpecError, match=r"the loss of .*net\.py:Net raised KeyError"):
        search(f"{path}:Net")
    assert os.listdir(tmp_path) == ["net.py"]


def test_the_command_shows_where_in_the_users_file_the_mistake_is(write, tmp_path, capsys):
    model = write(loss="return los")
    with pytest.raises(SystemExit) as ended:
        main(["search", "--model", model, "--trials", "2", "--storage", f"{tmp_path}/a.db"])
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert said[0].startswith("error: the loss of ")
    assert said[1].startswith(f'  File "{tmp_path}/mended.py", line ')
    assert "Traceback" not in "".join(said)


@pytest.mark.parametrize(
    "broken",
    [{"loss": MOUNT}, {"accuracy": 'if len(calls) > 5: os.stat(os.path.join(HERE, "mount"))'}],
    ids=["after three steps", "when measured"],
)
def test_trials_that_a_missing_file_failed_are_run_once_it_is_there(
    write, search, tmp_path, broken
):
    model = write(**broken)
    with pytest.raises(NothingUsable, match=r"No such file .* repeat the command: what failed is"):
        search(model)
    failed = _trials(tmp_path)
    assert {trial.state for trial in failed} == {TrialState.FAILED}
    (tmp_path / "mount").touch()
    heard = []
    result = search(model, listen=heard.append)
    assert result.complete
    trials = {trial.number: trial for trial in _trials(tmp_path)}
    assert all(trials[one.number].setting == one.setting for one in failed)
    assert TrialState.FAILED not in {trial.state for trial in trials.values()}
    said = [event.text for event in heard if isinstance(event, Notice)]
    assert f"search 'problem': {len(failed)} trials that failed are tried again" in said


def test_a_failure_names_the_line_of_the_user_s_file(write, search):
    lost = "if len(calls) > 3: torch.nn.functional.linear(torch.ones(3), torch.ones(2, 2))"
    with pytest.raises(NothingUsable, match=r"RuntimeError: .* \(mended\.py:15\); mend it"):
        search(write(loss=lost))


def test_what_still_fails_is_told_anew_and_tried_once_a_sitting(write, search, tmp_path):
    model = write(loss=MOUNT)
    for _ in range(4):
        heard = []
        with pytest.raises(NothingUsable, match=r"No such file"):
            search(model, listen=heard.append)
        numbers = [event.trial.number for event in heard if isinstance(event, TrialEnded)]
        assert len(numbers) == len(set(numbers)) == 3


def test_nobody_is_told_to_raise_the_budget_of_what_cannot_run(write, search):
    heard = []
    with pytest.raises(NothingUsable) as told:
        search(write(loss=MOUNT), listen=heard.append)
    said = [event.text for event in heard if isinstance(event, Notice)]
    assert not re.search(r"raise (it|the)", " ".join([*said, str(told.value)]), re.IGNORECASE)


FLAG = 'if os.path.exists(os.path.join(HERE, "broken")): raise OSError("stale file handle")'
MOVED = "max((now - first).abs().max() for now, first in zip(calls[-1], calls[0]))"
FAR = f"if len(calls) > 3 and {MOVED} > 6e-3: 1 / 0"


def test_a_few_failed_trials_are_tried_again_too_and_the_rest_stays(write, search, tmp_path):
    model = write(loss=FLAG)

    def breaking(event):
        if isinstance(event, TrialEnded) and event.trial.state is TrialState.COMPLETE:
            (tmp_path / "broken").touch()

    search(model, listen=breaking)
    before = {trial.number: trial for trial in _trials(tmp_path)}
    assert {trial.state for trial in before.values()} >= {TrialState.COMPLETE, TrialState.FAILED}
    (tmp_path / "broken").unlink()
    assert search(model).complete
    after = {trial.number: trial for trial in _trials(tmp_path)}
    assert TrialState.FAILED not in {trial.state for trial in after.values()}
    kept = [one for one in before.values() if one.state is TrialState.COMPLETE]
    assert [(one.loss, one.seconds) for one in kept] == [
        (after[one.number].loss, after[one.number].seconds) for one in kept
    ]


def test_a_setting_that_fails_whenever_it_is_tried_is_left_in_the_end(write, search, tmp_path):
    model = write(loss=FAR)
    result, ran = search(model, trials=8), True
    assert TrialState.FAILED in {trial.state for trial in _trials(tmp_path)}
    for _ in range(4):
        heard = []
        again = search(model, trials=8, listen=heard.append)
        ran = any(isinstance(event, TrialEnded) for event in heard)
    assert not ran
    assert again.complete
    assert again.rows[0].default.loss == result.rows[0].default.loss


def test_a_search_without_a_loss_gives_way_to_the_mended_file(write, search, tmp_path):
    with pytest.raises(NothingUsable):
        search(write(loss=MOUNT))
    heard = []
    assert search(write(), listen=heard.append).complete
    [said] = [event.text for event in heard if isinstance(event, Notice)][:1]
    assert said == (
        "search 'problem' had no loss yet and began with another content of its data or model "
        "file: it begins anew, nothing is lost"
    )
    assert TrialState.FAILED not in {trial.state for trial in _trials(tmp_path)}


def test_a_search_without_a_loss_gives_way_to_a_mended_number_of_its_spec(write, search):
    with pytest.raises(NothingUsable):
        search(write(loss=MOUNT), seed=7)
    assert search(write(), seed=1, steps=27).complete


def test_a_search_with_a_loss_is_not_replaced(write, search, tmp_path):
    search(write())
    before = _trials(tmp_path)
    with pytest.raises(AlreadyThere, match=r"with another content of its data or model file"):
        search(write(loss="batch = (batch[0], 2 * batch[1])"))
    assert _trials(tmp_path) == before


def test_a_function_mended_in_one_process_is_searched(tmp_path, search):
    x = torch.linspace(-1, 1, 48).reshape(6, 8, 1)
    broken = {"now": True}

    def made(fails):
        calls = []

        def line(seed):
            def loss(model, batch):
                calls.append(1)
                if fails and len(calls) > 2:
                    raise RuntimeError("typo")
                return (model(batch) - batch).square().mean()

            return autotune.Problem(
                model=torch.nn.Linear(1, 1), train=list(x[:5]), validation=list(x[5:]), loss=loss
            )

        return line

    with pytest.raises(NothingUsable, match="typo"):
        search(made(fails=broken["now"]))
    assert search(made(fails=False)).complete


def test_a_worker_that_starts_again_takes_up_what_failed_on_its_machine(write, tmp_path, search):
    model = write(loss=MOUNT)
    spec = parse({
        "model": model, "optimizers": ["adamw"], "budget": {"trials": 3}, "steps": 9, "seeds": 2,
        "finalists": 1, "engine": "inline",
    })  # fmt: skip
    from autotune.search.opening import checked, open_search

    terms = Terms(name="w1", engine="inline")
    with Store(f"{tmp_path}/autotune.db") as store:
        open_search(checked(spec, store), store)
        with pytest.raises(TooManyFailures):
            work("problem", store=store, terms=terms)
        (tmp_path / "mount").touch()
        work("problem", store=store, terms=terms)
    assert TrialState.FAILED not in {trial.state for trial in _trials(tmp_path)}
