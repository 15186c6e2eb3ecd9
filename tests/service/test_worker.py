"""``autotune worker --server``: a search's own task, trained by who only knows an address."""

from __future__ import annotations

import re
import threading
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner

from autotune.cli import main
from autotune.client import seats
from autotune.client.seats import Seat
from autotune.client.wire import Wire
from autotune.client.worker import work
from autotune.errors import AlreadyThere, SpecError
from autotune.search import opening
from autotune.search.coordinator import run
from autotune.search.facts import identity
from autotune.search.worker import Terms
from autotune.service import health
from autotune.studies import gradients
from autotune.studies.records import Role, SearchState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.remote import BODY, stored
from autotune.training.job import Outcome, empty_report

TASK = """
import torch
from autotune import Problem


def problem(seed):
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 4, generator=draw)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    torch.manual_seed(seed)
    batches = list(zip(inputs[:64].split(8), targets[:64].split(8)))

    def loss(model, batch):
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1])

    model, held = torch.nn.Linear(4, 1), [(inputs[64:], targets[64:])]
    return Problem(model=model, train=batches, validation=held, loss=loss, batch_size=8)
"""
SPEC = {
    "model": "own.py:problem", "name": "net", "optimizers": ["adan", "adamw"], "steps": 9,
    "budget": {"trials": 3}, "seeds": 2, "engine": "inline", "workers": 1,
    "record_norms": True, "measure_noise": True,
}  # fmt: skip
ALONE = Terms(name="w", engine="inline")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the model's file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(TASK)
    return tmp_path


def measured(url):
    """Return what a search's trials keep of gradients."""
    with Store(url) as store:
        every = [trial for study in store.search("net").studies for trial in store.trials(study.id)]
        return [(trial.role, gradients.of(store, trial.id)) for trial in every]


def begin(url, spec):
    with Store(url) as store:
        opening.open_search(opening.beginning(spec, opening.prepare(spec)), store)


@pytest.fixture
def server(folder, url, listening):
    """The address of a service that has a search of the file, of which nothing was run."""
    begin(url, parse(SPEC))
    return f"http://127.0.0.1:{listening}"


def test_a_worker_behind_the_service_trains_what_the_command_would(
    server, url, folder, monkeypatch
):
    monkeypatch.setattr(seats, "PART", 2)  # gradients in one call
    alone = f"sqlite:///{folder}/alone.db"
    with Store(alone) as store:
        run(parse(SPEC), store=store)
    assert work("net", server=server, terms=ALONE)
    assert stored(url, "net") == stored(alone, "net")
    kept = measured(url)
    assert kept == measured(alone)
    assert {tuple(one.step for one in steps) for _, steps in kept} >= {tuple(range(1, 10))}
    assert any(one.variance for role, steps in kept if role is Role.JUDGE for one in steps)


def test_a_worker_tells_when_a_service_cannot_keep_what_it_measures(server, url, monkeypatch):
    monkeypatch.setattr(health, "CAPABILITIES", ("leases",))
    with pytest.raises(SpecError, match="begun with record_norms, and the service is of a version"):
        work("net", server=server, terms=ALONE)
    with Store(url) as store:
        assert store.trials(1) == []


def test_gradients_that_cannot_be_are_refused_and_not_stored(server, url):
    facts = identity(opening.prepare(parse(SPEC)).facts)
    with closing(Wire(server, None)) as wire:
        asked = {"worker": "w", "facts": facts}
        held = wire.call("POST", "/v1/searches/net/leases", asked).body["leases"][0]
        assert (held["norms"], held["noise"]) == (True, [])
        body = {"gradients": [{"step": 10, "l1": 1.0, "l2": 0.5}]}
        with pytest.raises(
            SpecError, match=r"until step 3 now \(stop_at\), got gradients of step 10"
        ):
            wire.call("POST", f"{held['url']}/points", body)
        wire.call("PUT", "/v1/searches/bowl", dict(BODY))
        asked = {"worker": "w"}
        held = wire.call("POST", "/v1/searches/bowl/leases", asked).body["leases"][0]
        body = {"gradients": [{"step": 1, "l1": 1.0, "l2": 0.5}]}
        with pytest.raises(SpecError, match="'bowl' keeps nothing of gradients"):
            wire.call("POST", f"{held['url']}/points", body)
    with Store(url) as store:
        assert gradients.of(store, 1) == gradients.of(store, 2) == ()


def test_a_task_that_is_installed_is_begun_by_its_name_for_workers(folder, listening):
    server = f"http://127.0.0.1:{listening}"
    task = {"registered": {"model": "mlp", "steps": 9}}
    with closing(Wire(server, None)) as wire:
        wire.call("PUT", "/v1/searches/mlp", {**BODY, "task": task})
        found = wire.call("GET", "/v1/searches/mlp").body
        assert found["task"]["data"] == "digits-pair"
        spec = parse(dict(found["spec"])).model_copy(update={"device": "cpu"})
        facts = identity(opening.prepare(spec).facts)
        body = {"worker": "w", "facts": facts, "can_pause": "checkpoint"}
        answer = wire.call("POST", "/v1/searches/mlp/leases", body)
    assert answer.body["leases"][0]["evaluate_at"] == [1, 3]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("hf:gpt2", "got 'hf:gpt2'; did you mean 'gpt2'?"),
        ("mpl", "must be a task that is installed here, as another model is code"),
        ("own.py:problem", "must be a label, got 'own.py:problem'"),
    ],
)
def test_no_other_task_is_begun_by_its_name(model, sentence, listening):
    with closing(Wire(f"http://127.0.0.1:{listening}", None)) as wire:
        body = {**BODY, "task": {"registered": {"model": model}}}
        with pytest.raises(SpecError, match=re.escape(sentence)):
            wire.call("PUT", "/v1/searches/x", body)
        body["task"]["external"] = BODY["task"]["external"]
        body["task"]["registered"]["model"] = "mlp"
        with pytest.raises(SpecError, match="task must have one of external"):
            wire.call("PUT", "/v1/searches/x", body)


def test_a_worker_with_another_file_is_refused(server, url, folder):
    (folder / "own.py").write_text(TASK.replace("-2.0", "-3.0"))
    with pytest.raises(AlreadyThere, match=r"begun with another content of its data or model"):
        work("net", server=server, terms=ALONE)
    with Store(url) as store:
        assert store.trials(1) == []


def test_the_server_reads_none_of_the_models_files(server, url, folder, monkeypatch):
    facts = identity(opening.prepare(parse(SPEC)).facts)
    (folder / "own.py").unlink()
    with closing(Wire(server, None)) as wire:
        body = {"worker": "w", "facts": facts}
        answer = wire.call("POST", "/v1/searches/net/leases", body)
    assert answer.body["leases"][0]["optimizer"] == "adan"


def test_a_loop_of_ones_own_cannot_take_the_trials_of_a_task(server):
    with (
        closing(Wire(server, None)) as wire,
        pytest.raises(SpecError, match="join it with: autotune work"),
    ):
        wire.call("POST", "/v1/searches/net/leases", {"worker": "w"})


def test_a_worker_cannot_train_what_loops_of_ones_own_train(server):
    with closing(Wire(server, None)) as wire:
        wire.call("PUT", "/v1/searches/bowl", dict(BODY))
    with pytest.raises(SpecError, match=r"with autotune\.client"):
        work("bowl", server=server, terms=ALONE)


class Halted(threading.Event):
    """Is set when it was looked at so many times."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def is_set(self):
        self.looks -= 1
        return self.looks < 0


def test_a_halted_worker_gives_its_trial_back_and_another_goes_on(server, url):
    assert not work("net", server=server, terms=ALONE, halt=Halted(4))
    with Store(url) as store:
        assert not store.changes(1).held
        assert store.search("net").state is SearchState.RUNNING
    assert work("net", server=server, terms=replace(ALONE, name="v"))


def test_a_trial_whose_process_died_is_given_again_and_counts_the_try(server, url, folder):
    spec = parse(SPEC)
    facts = opening.prepare(spec).facts
    own = {"facts": identity(facts), "content": {}, "task": {}}
    with closing(Wire(server, None)) as wire:
        seat = Seat(wire, "net", "w", folder / "states", **own)
        tries = []
        for _ in range(3):
            seat.taken = seat.ask()
            tries.append((seat.taken.number, seat.taken.job.attempt))
            seat.hear(empty_report(seat.taken.job, Outcome.LOST, "it died", worker="w"))
        assert tries == [(0, 1), (0, 2), (0, 3)]
        seat.ask()
        seat.close()
    with Store(url) as store:
        assert store.trials(1)[0].reason.startswith("given up after 3 tries")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--storage", "x.db"], "give --server or --storage"),
        (["--mixed"], "--mixed and --strict are for a worker at the database"),
    ],
)
def test_what_does_not_go_with_a_server_is_refused(words, sentence, folder):
    given = ["worker", "--search", "net", "--server", "http://127.0.0.1:9", *words]
    found = CliRunner().invoke(main, given)
    assert found.exit_code == 2
    assert sentence in found.output
