"""Our loops train Schedule-Free at a constant rate, and measure its average."""

import copy
import math
import pickle
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from autotune import export
from autotune.arguments import words
from autotune.errors import SpecError
from autotune.optimizers import create, defaults
from autotune.results.tuned import Schedule
from autotune.tasks.base import Measurement
from autotune.tasks.resolve import resolve
from autotune.testing.exports import tuned_for_test
from autotune.testing.trials import setting_of
from autotune.training.averages import averaged
from autotune.training.building import optimizer_of
from autotune.training.loop import train
from autotune.training.lr_schedule import multiplier, schedule, shape_of
from autotune.training.side_by_side import Member, loss_curves
from autotune.training.steps import Segment


def test_the_rate_rises_as_ever_and_then_stays():
    for step in range(60):
        cosine, constant = (multiplier(step, 60, 0.1, shape) for shape in ("cosine", "constant"))
        assert constant == (cosine if step < 6 else 1.0)


class Averaging:
    """Somebody's optimizer with two points."""

    def train(self):
        pass

    eval = train


def test_the_shape_is_the_optimizers_own():
    p = nn.Parameter(torch.ones(1))
    assert shape_of(create("adamw-sf", [p])) == "constant"
    for other in (create("adamw", [p]), create("adan-win2", [p]), torch.optim.AdamW([p])):
        assert shape_of(other) == "cosine"
    assert shape_of(Averaging()) == "constant"


def test_a_schedule_of_ones_own_loop_stays_too():
    optimizer = create("sgd-sf", [nn.Parameter(torch.ones(1))], lr=0.4)
    rates = schedule(optimizer, 20, 0.1)
    found = []
    for _ in range(25):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rates.step()
    assert found[:2] == pytest.approx([0.4 / 3, 0.8 / 3])
    assert found[2:] == [0.4] * 23


@dataclass
class Bowl:
    """A run whose loss is the square of one weight; it remembers where it was measured."""

    model: nn.Linear
    measured: list[torch.Tensor] = field(default_factory=list)

    def loss(self, step):
        return self.model.weight.square().sum()

    def evaluate(self):
        self.measured.append(self.model.weight.detach().clone())
        return Measurement(loss=float(self.loss(0).detach()))


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", ["adamw-sf", "adan"])
def test_what_is_measured_is_the_average_and_training_does_not_notice(name, ahead):
    ends, seen = [], []
    for evaluate in ((), (4, 9)):
        torch.manual_seed(0)
        run = Bowl(nn.Linear(3, 1, bias=False))
        optimizer = create(name, run.model.parameters(), lr=0.05)
        segment = Segment(start=0, stop=9, target=12, warmup=0.2, evaluate=evaluate, every=1)
        points = list(train(run, optimizer, segment, ahead=ahead))
        ends.append(run.model.weight.detach().clone())
        seen.append(run.measured)
        assert [point.step for point in points if point.loss is not None] == list(evaluate)
    assert torch.equal(*ends)
    assert torch.equal(seen[1][-1], ends[1]) is (name == "adan")
    with averaged(optimizer):
        assert torch.equal(run.model.weight, seen[1][-1])
    assert torch.equal(run.model.weight, ends[1])


def test_replicas_are_measured_as_single_runs_are():
    task = resolve("mlp", steps=12)
    members = [
        Member(setting=setting_of(hyper={"lr": lr, "weight_decay": 0.1}, warmup=0.2), seed=seed)
        for lr, seed in ((1e-2, 1), (3e-2, 2))
    ]
    together = loss_curves(task, "adamw-sf", members, [5, 12])
    apart = loss_curves(replace(task, side_by_side=None), "adamw-sf", members, [5, 12])
    assert together == pytest.approx(apart, rel=1e-5)


def evaluated(model):
    """Return what a loop of somebody's own measures."""
    model.eval()
    with torch.no_grad():
        found = float(model(torch.ones(1, 4)))
    model.train()
    return found


@pytest.mark.parametrize("name", ["adamw-sf", "adamw"])
def test_a_loop_of_ones_own_measures_the_average_if_it_calls_the_model_in_evaluation(name):
    ends, found = [], []
    for measures in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = optimizer_of(model, name, {"lr": 0.1})
        for _ in range(5):
            model(torch.ones(1, 4)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            found += [evaluated(model)] if measures else []
        copied = copy.deepcopy(model)
        loaded = pickle.loads(pickle.dumps(model))
        assert evaluated(copied) == evaluated(loaded)  # which nothing follows
        measured = evaluated(model)
        with torch.no_grad():
            assert float(model(torch.ones(1, 4))) == measured  # until a call with gradients
        model(torch.ones(1, 4))
        ends.append(model.weight.detach().clone())
    assert torch.equal(*ends)
    with torch.no_grad():
        at_the_points = float(torch.ones(4) @ model.weight[0] + model.bias[0])
    assert (found[-1] == pytest.approx(at_the_points)) is (name == "adamw")


def averaged_setting():
    hyper = {**defaults("adamw-sf"), "lr": 2.5e-3}
    shape = Schedule(type="constant", warmup_fraction=0.05, final_lr_fraction=1.0)
    return replace(tuned_for_test(), optimizer="adamw-sf", hyper=hyper, schedule=shape)


def test_the_torch_file_holds_the_rate_and_says_what_to_measure():
    text = export.render(averaged_setting(), "torch")
    assert "optimizer.eval()" in text
    assert "import math" not in text
    names = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    found = [names["multiplier"](step, 60) for step in range(70)]
    assert found == [multiplier(step, 60, 0.05, "constant") for step in range(70)]
    assert "optimizer.eval()" not in export.render(tuned_for_test(), "torch")


def test_words_hold_the_rate_or_refuse():
    given = "adamw-sf", averaged_setting().hyper, 0.05, 100
    assert words("hydra", *given)[-1] == "++schedule.type=constant"
    for form in ("timm", "hf", "kohya"):
        with pytest.raises(SpecError, match=r"for Schedule-Free, which adamw-sf is; search adamw,"):
            words(form, *given)


def test_a_step_of_the_average_loses_less_than_one_of_the_points():
    """Noise moves the points around the minimum; their average is nearer to it."""
    torch.manual_seed(3)
    p = nn.Parameter(torch.full((50,), 2.0))
    optimizer = create("sgd-sf", [p], lr=0.5)
    for _ in range(200):
        p.grad = p.detach() + torch.randn(50)
        optimizer.step()
    at_y = float(p.detach().square().mean())
    with averaged(optimizer):
        at_x = float(p.detach().square().mean())
    assert at_x < 0.7 * at_y
    assert math.isfinite(at_x)
