"""Which mode the modules of a user's model are trained and measured in."""

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from autotune import Problem
from autotune.tasks.problem import OwnProblem
from autotune.training.loading import build
from autotune.training.loop import Segment, train

STEPS = 6


class Seen(nn.Module):
    """Passes its input on and notes the mode it was in."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def forward(self, inputs):
        self.modes.append(self.training)
        return inputs


def square(model, batch):
    return mse_loss(model(batch), batch.sum(1, keepdim=True))


def trained(model, loss=square, start=0):
    """Train a model in the engine's loop, measured halfway and at the end."""
    torch.manual_seed(0)
    data = torch.randn(24, 4)

    def problem(seed):
        return Problem(
            model=model, train=list(data[:16].split(4)), validation=[data[16:]], loss=loss
        )

    task = OwnProblem(name="p", text="p.py:p", build=problem, sha256="0", steps=STEPS)
    run, optimizer = build(task, "adamw", {"lr": 1e-2}, 1)
    segment = Segment(
        start=start, stop=STEPS, target=STEPS, warmup=0.0, evaluate={3, STEPS}, every=1
    )
    return list(train(run, optimizer, segment))


def steps(seen):
    """Return the modes in which it was run in training steps: one evaluation follows the third."""
    return [*seen.modes[:3], *seen.modes[4:-1]]


def test_a_model_handed_over_in_evaluation_mode_is_trained_in_training_mode():
    seen = Seen()
    trained(nn.Sequential(nn.Linear(4, 1), nn.Dropout(0.5), seen).eval())
    assert steps(seen) == [True] * STEPS
    assert [seen.modes[3], seen.modes[-1]] == [False, False]


def test_so_is_an_encoder_handed_over_so_inside_a_model_of_ones_own():
    seen = Seen()
    encoder = nn.Sequential(nn.Linear(4, 4), seen).eval()
    trained(nn.Sequential(encoder, nn.Linear(4, 1)))
    assert steps(seen) == [True] * STEPS


def test_a_resumed_trial_is_too():
    seen = Seen()
    trained(nn.Sequential(nn.Linear(4, 1), seen).eval(), start=3)
    assert seen.modes == [True] * 3 + [False]


@pytest.mark.parametrize("whole", [True, False], ids=["model in eval", "model in train"])
def test_a_part_whose_weights_are_frozen_stays_in_evaluation_mode(whole):
    frozen = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval().requires_grad_(False)
    seen = Seen()
    model = nn.Sequential(frozen, nn.Linear(4, 1), seen)
    trained(model.eval() if whole else model)
    assert frozen[1].running_mean.tolist() == [0.0] * 4
    assert steps(seen) == [True] * STEPS


def test_a_frozen_part_that_was_left_in_training_mode_stays_in_that():
    moved = nn.BatchNorm1d(4).requires_grad_(False)
    trained(nn.Sequential(moved, nn.Linear(4, 1)))
    assert moved.running_mean.abs().sum() > 0


def test_batch_normalisation_put_into_evaluation_mode_alone_stays_in_it():
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(nn.Linear(4, 4), norm, nn.Linear(4, 1))
    norm.eval()
    trained(model)
    assert norm.running_mean.tolist() == [0.0] * 4


class Keeps(nn.Sequential):
    """Holds its first part in evaluation mode, whatever it is told, as many published models do."""

    def train(self, mode=True):
        super().train(mode)
        self[0].eval()
        return self


def test_a_model_that_overrides_train_decides_for_itself():
    seen, held = Seen(), Seen()
    trained(Keeps(nn.Sequential(nn.Linear(4, 4), held), nn.Linear(4, 1), seen))
    assert steps(held) == [False] * STEPS
    assert steps(seen) == [True] * STEPS


class Adapter(nn.Module):
    """Adds to its weight in evaluation mode and takes it away again in training mode."""

    def __init__(self):
        super().__init__()
        self.weight, self.extra = nn.Parameter(torch.ones(4, 1)), 1.0

    def train(self, mode=True):
        with torch.no_grad():
            self.weight += self.extra * (self.training - mode)
        return super().train(mode)

    def forward(self, inputs):
        self.used = inputs @ (self.weight + self.extra * self.training)
        return self.used


def test_a_layer_that_merges_weights_in_evaluation_mode_unmerges_them_for_training():
    layer = Adapter()
    trained(nn.Sequential(layer, nn.Dropout(0.0)))
    assert layer.training
    assert (layer.weight < 1.5).all()  # one more for each evaluation if it stayed merged


def test_a_loss_that_leaves_evaluation_mode_behind_does_not_change_later_steps():
    seen = Seen()

    def loss(model, batch):
        found = square(model, batch)
        model.eval()
        return found

    trained(nn.Sequential(nn.Linear(4, 1), seen), loss)
    assert steps(seen) == [True] * STEPS


def test_a_loss_that_leaves_training_mode_behind_does_not_change_later_measurements():
    seen = Seen()

    def loss(model, batch):
        found = square(model, batch)
        model.train()
        return found

    def problem(seed):
        model = nn.Sequential(nn.Linear(4, 1), seen)
        data = torch.ones(4, 4)
        return Problem(model=model, train=[data], validation=[data] * 3, loss=loss)

    task = OwnProblem(name="p", text="p.py:p", build=problem, sha256="0", steps=1)
    task.start(0).evaluate()
    assert seen.modes == [False] * 3
