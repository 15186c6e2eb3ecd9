"""The callback and ``configure`` in real Lightning."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from autotune.errors import SpecError
from autotune.integrations.suggestion import from_config, presets

pytest.importorskip("lightning", reason="lightning is not installed")

from lightning.pytorch import LightningModule, Trainer

from autotune.integrations.lightning import Callback, configure, interval

STEPS = 8
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*num_workers"
)


class Parts:
    def __init__(self, found):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
        self.found, self.rates = found, []

    def training_step(self, batch, index):
        inputs, labels = batch
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        return nn.functional.cross_entropy(self.net(inputs), labels)

    def validation_step(self, batch, index):
        inputs, labels = batch
        logits = self.net(inputs)
        self.log("val_loss", nn.functional.cross_entropy(logits, labels))
        self.log("val_accuracy", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return configure(self, self.found, self.trainer.max_steps)


class Module(Parts, LightningModule):
    pass


FOUND = from_config(presets("adan-win2", steps=STEPS, space={"lr": 0.01, "warmup": 0.25})[0])


def fit(callback, trainer=Trainer, module=Module, **more):
    given = {
        "max_steps": STEPS,
        "val_check_interval": 2,
        "check_val_every_n_epoch": None,
        **more,
    }
    running = trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[] if callback is None else [callback],
        **given,
    )
    inputs = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.TensorDataset(inputs, (inputs.sum(1) > 0).long())
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    model = module(FOUND)
    running.fit(model, loader, loader)
    return running, model


def test_every_validation_is_reported_with_its_accuracy(plan):
    told = plan()
    trainer, _ = fit(Callback(told.report))
    assert told.steps == [2, 4, 6, 8]
    assert told.told[-1][1] == pytest.approx(float(trainer.callback_metrics["val_loss"]))
    assert all(0 <= accuracy <= 1 for _, _, accuracy in told.told)


class Watched(Module):
    def on_validation_start(self):
        self.training_weights = self.net[0].weight.detach().clone()

    def validation_step(self, batch, index):
        super().validation_step(batch, index)
        self.validated = self.net[0].weight.detach().clone()


def test_the_average_is_validated_and_training_goes_on_from_the_points(plan):
    found = from_config(presets("adamw-sf", steps=STEPS, space={"lr": 0.05})[0])
    _, model = fit(Callback(plan().report), module=lambda _: Watched(found))
    assert not torch.equal(model.validated, model.net[0].weight)
    optimizer = model.optimizers().optimizer
    optimizer.eval()
    assert torch.equal(model.validated, model.net[0].weight)
    assert model.rates[-1] == model.rates[1] == 0.05


def test_only_the_trial_s_steps_are_reported(plan):
    trial = plan()
    fit(Callback(trial=trial))
    assert trial.steps == [2, 6, 8]


def test_training_stops_when_told_to_in_the_middle_of_an_epoch(plan):
    trial = plan(stop=2)
    trainer, _ = fit(Callback(trial=trial))
    assert trial.steps == [2]
    assert trainer.global_step == 2


def test_accumulated_batches_count_as_one_step(plan):
    trial = plan(evaluate=(2, 4), stop=4)
    every = interval(trial, 2)
    assert (interval(trial), every) == (2, 4)
    trainer, _ = fit(Callback(trial=trial), accumulate_grad_batches=2, val_check_interval=every)
    assert trial.steps == [2, 4]
    assert trainer.global_step == 4


@pytest.mark.parametrize(
    "more",
    [{"val_check_interval": 4}, {"check_val_every_n_epoch": 1, "val_check_interval": 1.0}],
)
def test_a_trainer_that_validates_elsewhere_is_refused(more, plan):
    sentence = (
        r"^the trial is measured at steps 2, 6, 8, where this Trainer does not validate; give it "
        r"val_check_interval=2 and check_val_every_n_epoch=None$"
    )
    with pytest.raises(SpecError, match=sentence):
        fit(Callback(trial=plan()), **more)


@pytest.mark.parametrize("name", ["min_epochs", "min_steps"])
def test_a_trainer_that_may_not_stop_is_refused(name, plan):
    sentence = f"^{name} must not be set where training may stop, got 3$"
    with pytest.raises(SpecError, match=sentence):
        fit(Callback(trial=plan()), **{name: 3})


def test_a_loss_of_another_name_is_told_of(plan):
    with pytest.warns(UserWarning, match=r"^no measurement had 'loss', only val_accuracy, val_los"):
        fit(Callback(plan().report, metric="loss"))


def test_the_schedule_is_stepped_each_step_from_its_first(plan):
    _, module = fit(Callback(plan().report))
    assert module.rates[:3] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01])
    assert 0 < module.rates[-1] < 0.001


def test_matrices_alone_are_decayed():
    _, module = fit(None)
    groups = module.optimizers().param_groups
    decayed = {parameter.ndim: g["weight_decay"] for g in groups for parameter in g["params"]}
    assert decayed == {2: 0.02, 1: 0.0}


def test_under_its_other_name_lightning_takes_the_callback_too(plan):
    other = importlib.import_module("pytorch_lightning")
    module = type("Module", (Parts, other.LightningModule), {})
    trial = plan(stop=6)
    trainer, _ = fit(Callback(trial=trial), other.Trainer, module)
    assert trial.steps == [2, 6]
    assert trainer.global_step == 6
