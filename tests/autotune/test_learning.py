"""A verdict is given only where something was learned."""

import math
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from autotune import Problem
from autotune.results import learning
from autotune.results.comparison import compare
from autotune.results.tuned import tuned
from autotune.search import details
from autotune.search.coordinator import run
from autotune.studies.records import Role, SearchRecord, SearchState, StudyRecord, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.tasks import constant
from autotune.tasks.constant import of_labels, of_problem
from autotune.testing.trials import search_trial

WHEN = datetime(2026, 11, 21, tzinfo=UTC)
CHANCE = math.log(64)
KNOWN = {"constant_loss": CHANCE, "constant_accuracy": 1 / 64}


def judged(losses, source, **fields):
    return [
        search_trial(
            10 * source + i, id=10 * source + i, role=Role.JUDGE, source=source, seed=i, loss=loss,
            hyper={"lr": source}, state=TrialState.COMPLETE, step=81, **fields,
        )
        for i, loss in enumerate(losses)
    ]  # fmt: skip


def compared(task, firsts=(), accuracy=None, **losses):
    """Compare optimizers by their judged losses, the default's a little higher."""
    studies = tuple(
        StudyRecord(id=i, search="s", optimizer=name, space={}) for i, name in enumerate(losses)
    )
    search = SearchRecord(
        id=1, name="s", spec={}, task=task, state=SearchState.COMPLETE, seconds=1.0,
        created=WHEN, updated=WHEN, studies=studies,
    )  # fmt: skip
    trials = {
        name: judged([loss + 1e-4 for loss in own], 0) + judged(own, 1, accuracy=accuracy)
        for name, own in losses.items()
    }
    before = {10 + i: loss for i, loss in enumerate(firsts)}
    return compare(search, trials, dict.fromkeys(losses, 1), before)


def test_a_loss_far_above_a_constants_that_fell_was_learned():
    """Settings may be slow, and another process may have found another constant."""
    found = compared({"constant_loss": 6.5}, [1400.0] * 3, adan=[318.0, 319.0, 317.0])
    assert "nothing was learned" not in found.verdict
    found = compared({"constant_loss": 6.5}, [1400.0] * 3, adan=[1401.0, 1402.0, 1400.5])
    assert "nothing was learned" in found.verdict


def test_losses_of_a_constant_answer_are_not_ranked():
    found = compared(KNOWN, adan=[4.1588] * 3, adamw=[4.1589] * 3)
    assert found.verdict == "nothing was learned with adan or adamw"
    assert found.rows[0].verdict == (
        "nothing was learned with adan: its loss of 4.159 is not clearly below that of one "
        "constant answer (4.159)"
    )
    assert found.rows[0].reference_verdict is None


def test_an_optimizer_that_learned_is_compared_with_one_that_did_not():
    found = compared(KNOWN, adamw=[4.158, 4.159, 4.1595], adan=[1.0, 1.1, 1.05])
    assert [row.optimizer for row in found.rows] == ["adan", "adamw"]
    assert found.verdict == "adan has the lowest loss, significantly below every other optimizer"
    assert found.rows[0].reference_verdict.startswith("tuned adan beats tuned adamw")
    assert found.rows[1].nothing_learned


def test_a_small_but_certain_gain_is_learning():
    assert compared(KNOWN, adan=[4.05, 4.06, 4.055]).rows[0].nothing_learned is None


def test_a_gain_that_noise_explains_is_none():
    assert compared(KNOWN, adan=[3.9, 4.3, 4.15]).rows[0].nothing_learned


def test_a_loss_above_a_constants_with_accuracy_above_it_is_learning():
    assert compared(KNOWN, accuracy=0.4, adan=[4.5] * 3).rows[0].nothing_learned is None
    assert compared(KNOWN, accuracy=0.02, adan=[4.5] * 3).rows[0].nothing_learned


def test_without_a_constant_the_untrained_loss_is_what_must_be_beaten():
    found = compared({}, [1.31, 1.28, 1.30], adan=[1.35, 1.30, 1.33]).rows[0]
    assert found.verdict == (
        "nothing was learned with adan: its loss of 1.327 is not clearly below the training loss "
        "before the first step (1.297)"
    )
    assert compared({}, [1.31, 1.28, 1.30], adan=[0.9, 0.8, 0.7]).rows[0].nothing_learned is None


def test_what_is_on_its_way_above_what_learned_nothing_is_not_best():
    before = [1400.0] * 3
    found = compared({"constant_loss": 6.5}, before, sgd=[318.0, 319.0, 317.0], adan=[6.5] * 3)
    assert [row.optimizer for row in found.rows] == ["sgd", "adan"]
    assert found.verdict == (
        "no optimizer is best: adan learned nothing, and the mean of sgd is higher still"
    )


def test_searches_that_kept_neither_are_judged_as_before():
    assert compared({}, adan=[4.1588] * 3).rows[0].nothing_learned is None


def test_a_setting_that_failed_is_told_as_failed():
    trial = replace(judged([4.0], 1)[0], state=TrialState.FAILED, loss=None, reason="bad")
    search = compared(KNOWN, adan=[4.0]).search
    assert "bad" in compare(search, {"adan": [trial]}, {"adan": 1}).rows[0].verdict


def test_what_learned_nothing_does_not_lead_what_failed_on_a_seed():
    search = compared(KNOWN, adan=[4.1588] * 3, adamw=[1.0] * 3).search
    adan, adamw = (judged([4.2] * 3, 0) + judged([loss] * 3, 1) for loss in (4.1588, 1.0))
    adamw[-1] = replace(adamw[-1], state=TrialState.FAILED, loss=None, reason="bad")
    found = compare(search, {"adan": adan, "adamw": adamw}, {"adan": 1, "adamw": 1})
    assert found.verdict == found.rows[0].nothing_learned
    assert found.verdict.startswith("nothing was learned with adan")


def test_a_task_and_the_comparison_name_what_is_known_alike():
    assert (constant.LOSS, constant.ACCURACY) == (learning.LOSS, learning.ACCURACY)


def problem(model, loss, batches, accuracy=None):
    return Problem(model=model, train=batches, validation=batches, loss=loss, accuracy=accuracy)


def test_the_constant_of_labels_is_their_entropy():
    labels = torch.tensor([0, 0, 0, 1])
    found = of_labels([(torch.zeros(4), labels)])
    assert found["constant_loss"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert found["constant_accuracy"] == 0.75


def test_the_constant_of_a_regression_is_its_variance():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True) + 5
    batches = list(zip(x.split(10), y.split(10), strict=True))
    given = problem(nn.Linear(3, 1), lambda m, b: mse_loss(m(b[0]), b[1]), batches)
    found = of_problem(given, batches)
    assert found["constant_loss"] == pytest.approx(float(y.var(correction=0)), rel=1e-4)


def test_the_constant_of_a_classifier_is_found_through_the_users_own_loss():
    torch.manual_seed(0)
    x, y = torch.randn(30, 4), torch.arange(30) % 3
    y[:10] = 0
    batches = [(x, y)]

    def right(model, batch):
        return float((model(batch[0]).argmax(1) == batch[1]).float().mean())

    given = problem(nn.Linear(4, 3), lambda m, b: cross_entropy(m(b[0]), b[1]), batches, right)
    found, known = of_problem(given, batches), of_labels(batches)
    assert found == pytest.approx(known, rel=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        lambda m, b: m(b).mean(),  # has no lowest value
        lambda m, b: m.weight.square().mean(),  # asks more of the model than its answer
        lambda m, b: b.square().mean().requires_grad_(),  # does not ask it
        lambda m, b: m(b).mean() if isinstance(m, nn.Linear) else sys.exit("not my net"),
    ],
)
def test_where_a_constant_cannot_be_told_none_is(loss):
    assert of_problem(problem(nn.Linear(2, 2), loss, [torch.ones(3, 2)]), [torch.ones(3, 2)]) == {}


FROZEN = """
import torch
from autotune import Problem


class Deaf(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(64))

    def forward(self, inputs):
        return self.logits.expand(len(inputs), 64)


def deaf(seed):
    labels = torch.arange(256) % 64
    batches = list(zip(torch.zeros(256, 1).split(64), labels.split(64)))
    return Problem(
        model=Deaf(), train=batches[:3], validation=batches[3:],
        loss=lambda model, batch: torch.nn.functional.cross_entropy(model(batch[0]), batch[1]),
    )
"""


def test_a_search_in_which_nothing_is_learned_says_so_everywhere(tmp_path):
    (tmp_path / "frozen.py").write_text(FROZEN)
    spec = parse(
        {
            "model": f"{tmp_path}/frozen.py:deaf", "optimizers": ["adamw"], "engine": "inline",
            "budget": {"trials": 3}, "steps": 9,
        }
    )  # fmt: skip
    url = f"sqlite:///{tmp_path}/a.db"
    with Store(url) as store:
        found = run(spec, store=store)
        warnings = tuned(store, "deaf").warnings
    sentence = found.rows[0].nothing_learned
    assert sentence.startswith("nothing was learned with adamw: its loss of 4.159")
    assert found.sentences == (sentence,)
    assert sentence in warnings
    assert details.search(url, "deaf")["nothing_learned"] == {"adamw": sentence}
