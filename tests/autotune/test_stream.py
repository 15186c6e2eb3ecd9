"""Batches that are read as they are needed: in order, once, none kept, by whoever goes on."""

import textwrap
from dataclasses import replace
from multiprocessing import active_children

import pytest
import torch

from autotune.devices import Device
from autotune.errors import AlreadyThere, SpecError
from autotune.search.coordinator import run
from autotune.search.opening import prepare
from autotune.studies.records import SearchState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.tasks.resolve import resolve
from autotune.tasks.stream import Reader, Source, Stream, content, first
from autotune.testing.trials import setting_of
from autotune.training.job import Job, Outcome
from autotune.training.loading import forget
from autotune.training.runner import perform

STEPS = 12
HEAD = """
import weakref

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import autotune

read, alive, most = [], [0], [0]


def batch(number):
    # Those that somebody has are counted.
    x = torch.randn(8, 4) + number
    read.append(number)
    alive[0] += 1
    most[0] = max(most[0], alive[0])
    weakref.finalize(x, lambda: alive.__setitem__(0, alive[0] - 1))
    return x


def endless(seed):
    number = 0
    while True:
        yield batch(number)
        number += 1


def made(seed, train=endless, model=None, **parts):
    torch.manual_seed(seed)
    return autotune.Problem(
        model=model or nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1)),
        train=train,
        validation=[torch.randn(8, 4, generator=torch.Generator().manual_seed(0))],
        loss=lambda model, x: (model(x) - x.sum(1, keepdim=True)).square().mean(),
        **parts,
    )


def problem(seed):
    return made(seed)
"""


@pytest.fixture(autouse=True)
def fresh():
    forget()
    yield
    forget()


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and returns the text that names its function."""

    def write(text="", function="problem"):
        path = tmp_path / "mine.py"
        path.write_text(HEAD + textwrap.dedent(text))
        return f"{path}:{function}"

    return write


def loaded(model):
    """Return what the file of a task has noted."""
    from autotune.tasks.given import found

    return vars(found(model)._loaded.module)


def job(model, **changes):
    fields = {
        "trial": 1, "attempt": 1, "optimizer": "adamw",
        "task": {"model": model, "data": None, "steps": STEPS, "batch_size": None},
        "setting": setting_of(hyper={"lr": 0.01}), "seed": 3, "start": 0, "stop": STEPS,
        "target": STEPS, "evaluate": (3, 6, 12),
    }  # fmt: skip
    return Job(**fields | changes)


def performed(job):
    reports = list(perform(job, lambda: False, "one"))
    assert reports[-1].outcome is Outcome.REACHED, reports[-1].reason
    return replace(reports[-1], points=sum((report.points for report in reports), ()))


def curve(report):
    return {point.step: (point.train_loss, point.loss) for point in report.points}


def test_one_batch_is_read_a_step_in_order_and_none_is_kept(write):
    model = write()
    performed(job(model))
    noted = loaded(model)
    assert noted["read"] == list(range(STEPS))
    assert noted["most"][0] <= 2  # the one in use and the one that comes
    assert noted["alive"][0] <= 1


def test_one_batch_at_most_is_read_to_look_at_the_task(write):
    model = write()
    task = resolve(model, steps=STEPS)
    task.rehearse()
    assert task.batch_size == 8
    assert task.facts()["validation_size"] == 8
    assert loaded(model)["read"] == [0]


def test_a_search_of_an_endless_stream_never_has_many_batches(write, tmp_path):
    model = write()
    with Store(f"sqlite:///{tmp_path}/one.db") as store:
        found = run(wanted(model), store=store)
    assert found.search.state is SearchState.COMPLETE
    noted = loaded(model)
    assert len(noted["read"]) > 100
    assert noted["most"][0] <= 3  # the parent has looked at one


def wanted(model, **changes):
    asked = {
        "model": model, "optimizers": ["adamw"], "budget": {"trials": 3}, "steps": 27,
        "engine": "inline", "name": "one", "seeds": 2,
    }  # fmt: skip
    return parse(asked | changes)


@pytest.fixture
def quick(monkeypatch):
    """Save what is paused, however quickly it is trained again."""
    monkeypatch.setattr("autotune.training.checkpoint.BYTES_PER_SECOND", 1e18)


STATEFUL = """
class Stateful:
    def __init__(self, *more):
        self.place, self.more = 0, more

    def __iter__(self):
        while True:
            self.place += 1
            yield batch(self.place - 1)

    def state_dict(self):
        return {"place": self.place, "more": [1.0, "x", None, *self.more]}

    def load_state_dict(self, state):
        self.place = state["place"]


def stateful(seed):
    return made(seed, train=lambda seed: Stateful())


def odd(seed):
    return made(seed, train=lambda seed: Stateful(object()))
"""


@pytest.mark.parametrize(
    ("function", "reads"), [("problem", range(12)), ("stateful", range(6, 12)), ("odd", range(12))]
)
def test_a_run_that_goes_on_reads_what_it_would_have_read(write, tmp_path, quick, function, reads):
    model = write(STATEFUL, function)
    whole = performed(job(model))
    path = str(tmp_path / "1.pt")
    paused = performed(job(model, stop=6, checkpoint=path))
    assert paused.saved
    loaded(model)["read"].clear()
    rest = performed(job(model, start=6, resume=path, checksum=paused.checksum))
    assert loaded(model)["read"] == list(reads)
    assert min(curve(rest)) > 6  # only what it reads is repeated
    assert curve(paused) | curve(rest) == curve(whole)


def test_an_iterable_that_ends_begins_its_next_epoch(write):
    model = write(
        """
        def told(seed):
            def train(seed, epoch):
                return [batch(100 * epoch + number) for number in range(5)]
            return made(seed, train=train)
        """,
        "told",
    )
    performed(job(model))
    epochs = [range(100 * epoch, 100 * epoch + 5) for epoch in range(3)]
    assert loaded(model)["read"] == [number for epoch in epochs for number in epoch]


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ("lambda seed: None", "must return an iterable of batches for a seed, got None"),
        ("lambda seed: []", "yields no batch; return a new iterable at each call"),
        (
            "lambda seed: open('/no')",
            "reading the batches of .*wrong raised FileNotFound",
        ),
        ("lambda: []", "yields no batch; return a new iterable at each call"),
        ("lambda epoch: [][epoch]", "reading the batches of .*wrong raised IndexError"),
    ],
)
def test_what_gives_no_batches_is_refused_before_the_search(write, train, sentence):
    model = write(f"def wrong(seed):\n    return made(seed, train={train})", "wrong")
    with pytest.raises(SpecError, match=sentence):
        resolve(model)


def test_a_generator_that_is_read_twice_is_told_of():
    once = iter([1, 2])
    reader = Reader(Source(text="mine.py:problem", train=lambda seed: once, seed=0))
    assert [reader.next(), reader.next()] == [1, 2]
    with pytest.raises(
        SpecError, match=r"mine\.py:problem yields no batch in epoch 1; return a new"
    ):
        reader.next()


def test_processes_of_a_loader_end_with_the_run(write):
    model = write(
        """
        class Numbers(Dataset):
            def __len__(self):
                return 64

            def __getitem__(self, place):
                return torch.randn(4, generator=torch.Generator().manual_seed(place))


        loader = DataLoader(Numbers(), batch_size=8, shuffle=True, num_workers=1,
                            persistent_workers=True)


        def held(seed):
            return made(seed, train=lambda seed: loader)
        """,
        "held",
    )
    one = performed(job(model))
    assert not active_children()
    torch.rand(1)
    assert curve(performed(job(model))) == curve(one)  # with other processes of the same loader
    assert not active_children()


def test_batch_normalisation_is_measured_on_the_first_batches_read_anew(write):
    text = """
    def normal(seed):
        layers = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)
        return made(seed, model=nn.Sequential(*layers))
    """
    model = write(text, "normal")
    performed(job(model))
    first = list(range(8))
    read = loaded(model)["read"]
    assert read == [0, 1, 2, *first, 3, 4, 5, *first, *range(6, 12), *first]


class Loader:
    def __init__(self, dataset, batch=0.0):
        self.dataset, self.batch = dataset, torch.full((2,), batch)

    def __iter__(self):
        yield self.batch


class Known:
    _fingerprint = "abc123"


@pytest.mark.parametrize(
    ("iterable", "identity"),
    [
        (Loader(Known()), "abc123"),
        (Loader(None), content(torch.zeros(2))),
        ([{"x": torch.zeros(2), "y": "a"}], content({"x": torch.zeros(2), "y": "a"})),
    ],
)
def test_data_are_identified_by_their_fingerprint_or_their_first_batch(iterable, identity):
    assert first(Source(text="x", train=lambda seed: iterable, seed=0))[1] == identity
    assert content(torch.zeros(2)) != content(torch.ones(2))


def test_only_streams_and_those_that_say_so_have_an_identity(write):
    text = """
    def listed(seed):
        return made(seed, train=[batch(0)])

    def named(seed):
        return made(seed, train=[batch(0)], identity="mine-1")
    """
    assert "data_identity" not in resolve(write(text, "listed")).facts()
    assert resolve(write(text, "named")).facts()["data_identity"] == "mine-1"
    assert len(resolve(write(text)).facts()["data_identity"]) == 16


def test_a_search_on_other_data_is_another_search(write, tmp_path, monkeypatch):
    monkeypatch.setenv("WHICH", "one")
    model = write(
        """
        def named(seed):
            import os
            return made(seed, identity=os.environ["WHICH"])
        """,
        "named",
    )
    with Store(f"sqlite:///{tmp_path}/one.db") as store:
        run(wanted(model, steps=9), store=store)
        monkeypatch.setenv("WHICH", "two")
        with pytest.raises(AlreadyThere, match="with another identity of its data"):
            run(wanted(model, steps=9), store=store)


def test_a_loss_is_computed_in_the_precision_that_is_asked_for(write):
    text = """
    def half(seed):
        return made(seed, precision="bf16", accuracy=lambda model, x: seen(model(x)))

    def seen(found):
        assert found.dtype is torch.bfloat16
        return 0.5

    def wrong(seed):
        return made(seed, precision="bfloat16")
    """
    model = write(text, "half")
    assert resolve(model).facts()["precision"] == "bf16 autocast"
    assert resolve(write(text)).facts()["precision"] == "float32"
    losses = curve(performed(job(model)))
    assert losses != curve(performed(job(write(text))))
    with pytest.raises(SpecError, match=r"must be float32 or bf16, got 'bfloat16'; write 'bf16'$"):
        resolve(write(text, "wrong"))


def test_a_problem_says_where_it_trains_unless_the_command_does(write, monkeypatch):
    monkeypatch.setattr("autotune.devices._automatic", lambda: Device("meta"))
    text = """
    def here(seed):
        return made(seed, device="cpu")

    def nowhere(seed):
        return made(seed, device="gpu")
    """
    assert prepare(wanted(write(text))).facts["device"] == "meta"
    assert "device" not in prepare(wanted(write(text, "here"))).facts
    with pytest.raises(SpecError, match="device must be auto, cpu, cuda, cuda:<index> or mps, got"):
        prepare(wanted(write(text, "nowhere")))


def test_a_stream_reads_again_what_is_had_once_more_beside_the_rest():
    stream = Stream(Source(text="x", train=lambda seed: iter(range(100)), seed=0))
    assert [stream.batch(step) for step in (0, 1, 2)] == [0, 1, 2]
    assert [stream.again(step) for step in (0, 1, 2, 3, 0)] == [0, 1, 2, 3, 0]
    assert stream.batch(3) == 3
