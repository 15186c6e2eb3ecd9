"""How many samples a batch holds: told by its tensors, stated by the user, or left out."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from autotune import Problem
from autotune.errors import SpecError
from autotune.results.tuned import tuned
from autotune.search.coordinator import run
from autotune.search.events import Notice
from autotune.search.facts import changed_facts
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.tasks.problem import checked
from autotune.tasks.rows import samples, total, usual

Pair = namedtuple("Pair", "x y")
X, Y = torch.zeros(8, 3), torch.zeros(8)


@dataclass
class Named:
    x: torch.Tensor
    y: torch.Tensor


@pytest.mark.parametrize(
    "batch",
    [
        X, (X, Y), [X, Y], {"x": X, "y": Y}, Pair(X, Y), Named(X, Y), (X.numpy(), np.zeros(8)),
        ((X, Y), Y), {"inputs": {"ids": X, "mask": X}, "labels": Y}, (X, "name", 3), [X, [Y]],
        ({"ids": X, "mask": X}, {"labels": Y}),
    ],
)  # fmt: skip
def test_the_length_that_all_tensors_share_is_the_batchs(batch):
    assert samples(batch) == 8


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_has_a_length_though_it_has_no_shape():
    assert samples((torch.nested.nested_tensor([X[:3], X]), Y[:2])) == 2


@pytest.mark.parametrize(
    "batch",
    [
        (torch.zeros(2, 40), torch.zeros(40)),  # edges and nodes of a graph
        (torch.zeros(2, 8, 5), Y),  # a state whose layers come first
        [torch.zeros(3, 16, 16)] * 5,  # images of a list, each a sample
        ((torch.zeros(3, 16, 16),) * 5, (0, 1, 2, 3, 4)),  # zip(*samples), as detectors have it
        [{"x": Y, "y": 0}] * 5, [(Y, 0)] * 5,  # samples that nothing collates
        (torch.zeros(3, 16, 16), 7), (Y, torch.tensor(1.0)), {"x": Y, "y": np.int64(1)},  # one
        "text", None, 3.0, torch.tensor(1.0), object(), (), [1, 2, 3],
    ],
)  # fmt: skip
def test_where_tensors_do_not_tell_nothing_is_guessed(batch):
    assert samples(batch) is None


def test_the_last_batch_of_an_epoch_may_be_smaller():
    assert usual([X, X, X, X[:3]]) == 8
    assert total([X, X[:3]]) == 11


def test_batches_of_all_sizes_have_none():
    assert usual([X, X[:3], X[:5]]) is None
    assert usual([X, X, X, "text"]) is None
    assert total([X, "text"]) is None


@pytest.mark.parametrize("given", [0, -3, 2.5, True, "8"])
def test_a_stated_size_is_a_whole_number(given):
    problem = Problem(
        model=torch.nn.Linear(1, 1), train=[X], validation=[X], loss=lambda m, b: b.sum(),
        batch_size=given,
    )  # fmt: skip
    with pytest.raises(SpecError) as refused:
        checked("net.py:net", problem)
    assert str(refused.value) == (
        f"batch_size of net.py:net must be a whole number of at least 1, got {given!r}"
    )


FILE = """
import torch
from autotune import Problem


class Graph:
    def __init__(self, nodes):
        self.nodes = nodes


def problem(**stated):
    batches = [Graph(torch.linspace(-1, 1, 8).reshape(8, 1) + i) for i in range(4)]
    return Problem(
        model=torch.nn.Linear(1, 1), train=batches[:3], validation=batches[3:],
        loss=lambda model, batch: (model(batch.nodes) - 3 * batch.nodes).square().mean(),
        **stated,
    )


def graph(seed):
    return problem()


def stated(seed):
    return problem(batch_size=4)
"""


def exported(tmp_path, function):
    """Return what is asked of the user, and the export's facts and sentence on the batch."""
    (tmp_path / "mine.py").write_text(FILE)
    spec = parse(
        {
            "model": f"{tmp_path}/mine.py:{function}", "optimizers": ["adamw"], "steps": 9,
            "engine": "inline", "budget": {"trials": 3},
        }
    )  # fmt: skip
    heard = []
    with Store(f"sqlite:///{tmp_path}/a.db") as store:
        run(spec, store=store, listen=heard.append)
        found = tuned(store, function)
    asked = [e.text for e in heard if isinstance(e, Notice) and "batch_size" in e.text]
    return asked, found.tuned_on, found.warnings[-1]


def test_a_size_that_nobody_knows_is_asked_for_and_left_out_of_exports(tmp_path):
    asked, facts, horizon = exported(tmp_path, "graph")
    assert asked == [
        "how many samples a batch holds cannot be told from its tensors; state it as "
        "Problem(batch_size=...), so that exports name it beside lr"
    ]
    assert not {"batch_size", "validation_size"} & set(facts)
    assert horizon.startswith("tuned over 9 steps at a batch size that its tensors do not tell")


def test_a_stated_size_is_exported(tmp_path):
    asked, facts, horizon = exported(tmp_path, "stated")
    assert (asked, facts["batch_size"]) == ([], 4)
    assert horizon.startswith("tuned over 9 steps at batch size 4:")


def test_a_search_that_guessed_another_size_goes_on():
    facts = {"model": "a.py:f", "data": "a.py:f", "data_hash": "1", "steps": 9}
    assert changed_facts({**facts, "batch_size": 1}, facts) == []
    named = {**facts, "data": "digits-pair"}
    assert changed_facts({**named, "batch_size": 1}, {**named, "batch_size": 2}) == ["batch size"]
