"""Exports as transformers, Lightning and Hydra read them, parameter by parameter."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
import yaml
from torch import nn

from autotune import export
from autotune.testing.readback import (
    STEPS,
    Probe,
    apart,
    close,
    expected,
    faults,
    followed,
    per_parameter,
    rates,
    record,
    resumed,
    same,
    walk,
    wanted,
    weights,
)
from autotune.training.lr_schedule import shape_of

NAMES = ["adamw", "adan", "adan-win2"]
SEEN = (AssertionError, ValueError)  # our optimizers refuse betas that are one minus betas


def module(text):
    names = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return names


# --- transformers


class Labelled(nn.Module):
    """The probe, as the Trainer calls a model."""

    def __init__(self):
        super().__init__()
        self.probe = Probe()
        self.seen = []  # its batches

    def forward(self, ids, labels):
        self.seen.append((ids, labels))
        logits = self.probe(ids)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def rows(number=32):
    ids = torch.arange(number * 3).reshape(number, 3) % 8
    return [{"ids": row, "labels": row.sum() % 2} for row in ids]


def trained(text, folder, **given):
    """Train with an exported file, and return the Trainer with the rates it trained at."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    names = module(text)

    class Traced(transformers.TrainerCallback):
        rates: list = []  # noqa: RUF012  # of one Trainer

        def on_step_begin(self, args, state, control, optimizer=None, **_):
            self.rates.append(optimizer.param_groups[0]["lr"])

    args = transformers.TrainingArguments(
        **{**names["ARGUMENTS"], **given.pop("arguments", {})},
        output_dir=str(folder),
        use_cpu=True,
        report_to="none",
        logging_strategy="no",
        disable_tqdm=True,
        per_device_train_batch_size=8,
    )
    model = Labelled()
    trainer = names["TunedTrainer"](
        model=model, args=args, train_dataset=rows(), callbacks=[Traced]
    )
    trainer.create_optimizer()
    for group in trainer.optimizer.param_groups:
        group["backend"] = "torch"  # nothing is compiled
    trainer.train(**given)
    return trainer, Traced.rates


def check_huggingface(text, tuned, folder):
    trainer, traced = trained(text, folder, arguments={"save_strategy": "no"})
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    model = trainer.model
    same(per_parameter(model, [optimizer]), expected(tuned, model))
    close(traced, wanted(tuned))
    assert trainer.args.max_grad_norm == 0.0
    return model


def test_what_accelerate_has_wrapped_is_still_followed_by_a_cosine():
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    wrapped = accelerate.Accelerator(cpu=True).prepare(
        torch.optim.SGD(Probe().parameters(), lr=1.0)
    )
    assert wrapped.optimizer is not wrapped
    assert shape_of(wrapped) == "cosine"


@pytest.mark.parametrize("name", NAMES)
def test_the_trainer_trains_as_the_search_did_step_by_step(name, tmp_path):
    tuned = record(name)
    model = check_huggingface(export.render(tuned, "huggingface"), tuned, tmp_path)
    losses = [lambda model, batch=batch: model(*batch)["loss"] for batch in [*model.seen]]
    ours, decayed = Labelled(), Labelled()
    close(followed(ours, tuned, losses), wanted(tuned))
    assert apart(ours, model, Labelled()) < 1e-6
    # A twentieth more of decay is seen in the weights; a norm's would be, too.
    more = replace(tuned, hyper={**tuned.hyper, "weight_decay": 0.042})
    followed(decayed, more, losses)
    assert apart(decayed, model, Labelled()) > 1e-5


def test_the_trainer_follows_a_refined_schedule(tmp_path):
    tuned = record("adamw")
    refined = replace(tuned.schedule, type="table", table=(0.2, 1.0, 0.4, 0.0), origin="norms")
    tuned = replace(tuned, schedule=refined)
    text = export.render(tuned, "huggingface")
    check_huggingface(text, tuned, tmp_path)
    assert "TABLE" in text
    assert "WARMUP" not in text


def test_the_trainer_goes_on_from_its_own_checkpoint(tmp_path):
    text = export.render(record("adan-win2"), "huggingface")
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 3}
    whole, _ = trained(text, tmp_path / "whole", arguments=saving)
    checkpoint = str(tmp_path / "whole/checkpoint-2")
    torch.load(f"{checkpoint}/optimizer.pt", weights_only=True)
    later, _ = trained(text, tmp_path, arguments=saving, resume_from_checkpoint=checkpoint)
    assert torch.equal(weights(whole.model), weights(later.model))


# --- Hydra


def instantiated(text):
    hydra = pytest.importorskip("hydra", reason="hydra-core is not installed")
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    assert hydra.__version__
    config = OmegaConf.create({"tuned": yaml.safe_load(text)}).tuned
    return instantiate(config.optimizer), instantiate(config.schedule)


def check_hydra(text, tuned):
    build, follow = instantiated(text)
    model = Probe()
    optimizer = build(model=model)
    same(per_parameter(model, [optimizer]), expected(tuned, model))
    schedule = follow(optimizer)
    close(rates(optimizer, lambda _: schedule.step()), wanted(tuned))


@pytest.mark.parametrize("name", NAMES)
def test_hydra_makes_the_optimizer_and_a_safe_checkpoint(name):
    tuned = record(name)
    text = export.render(tuned, "hydra")
    check_hydra(text, tuned)
    build, _ = instantiated(text)
    whole, later = resumed(lambda model: build(model=model))
    assert torch.equal(whole, later)


# --- Lightning


def commanded(text, folder, monkeypatch, own=False):
    """Return what LightningCLI makes of a file: the module, its optimizer and its schedule."""
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    pytest.importorskip("jsonargparse", reason="jsonargparse is not installed")
    from lightning.pytorch.cli import LightningCLI

    from autotune.integrations.lightning_cli import CLI

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.probe = Probe()
            self.rates = []

        def training_step(self, batch, number):
            self.rates.append(self.optimizers().param_groups[0]["lr"])
            (ids,) = batch
            return nn.functional.cross_entropy(self.probe(ids), ids.sum(1) % 2)

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "accelerator": "cpu", "devices": 1}
    (folder / "tuned.yaml").write_text(text, "utf-8")
    monkeypatch.setattr(sys, "argv", ["main.py", "--config", str(folder / "tuned.yaml")])
    monkeypatch.chdir(folder)
    cls = LightningCLI if own else CLI
    return cls(Model, run=False, trainer_defaults=quiet, save_config_callback=None)


def check_lightning(text, tuned, folder, monkeypatch, own=False):
    cli = commanded(text, folder, monkeypatch, own)
    made = cli.model.configure_optimizers()
    if own:
        (optimizer,), _ = made
    else:
        optimizer = made["optimizer"]
        assert made["lr_scheduler"]["interval"] == "step"
    same(per_parameter(cli.model, [optimizer]), expected(tuned, cli.model))
    assert cli.trainer.max_steps == STEPS
    assert cli.trainer.gradient_clip_val is None
    schedule = made["lr_scheduler"]["scheduler"]
    close(rates(optimizer, lambda _: schedule.step()), wanted(tuned))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_lightning_s_command_makes_our_groups(name, tmp_path, monkeypatch):
    tuned = record(name)
    check_lightning(export.render(tuned, "lightning"), tuned, tmp_path, monkeypatch)


@pytest.mark.filterwarnings("ignore")
def test_lightning_s_command_follows_our_schedule_in_training(tmp_path, monkeypatch):
    tuned = record("adamw")
    cli = commanded(export.render(tuned, "lightning"), tmp_path, monkeypatch)
    data = torch.utils.data.TensorDataset(torch.arange(96).reshape(32, 3) % 8)
    cli.trainer.fit(cli.model, torch.utils.data.DataLoader(data, batch_size=8))
    close(cli.model.rates, wanted(tuned))


@pytest.mark.filterwarnings("ignore")
def test_lightning_s_optimizer_goes_on_from_a_safe_checkpoint(tmp_path, monkeypatch):
    text = export.render(record("adan-win2"), "lightning")

    def build(model):
        cli = commanded(text, tmp_path, monkeypatch)
        model._modules.update(cli.model.probe._modules)
        model._parameters.update(cli.model.probe._parameters)
        return cli.model.configure_optimizers()["optimizer"]

    whole, later = resumed(build)
    assert torch.equal(whole, later)


@pytest.mark.filterwarnings("ignore")
def test_lightning_s_own_command_would_decay_a_norm(tmp_path, monkeypatch):
    tuned = record("adamw")
    with pytest.raises(AssertionError, match=r"norm\.weight"):
        check_lightning(export.render(tuned, "lightning"), tuned, tmp_path, monkeypatch, own=True)


# --- planted faults


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", range(3))
def test_a_planted_fault_is_seen(fault, tmp_path, monkeypatch):
    good = record("adan-win2")
    _, wrong = list(faults(good))[fault]
    with pytest.raises(SEEN):
        check_huggingface(export.render(wrong, "huggingface"), good, tmp_path)
    with pytest.raises(SEEN):
        check_hydra(export.render(wrong, "hydra"), good)
    with pytest.raises((*SEEN, SystemExit)):
        check_lightning(export.render(wrong, "lightning"), good, tmp_path, monkeypatch)


@pytest.mark.parametrize("form", ["hydra", "huggingface"])
def test_a_decayed_norm_is_seen(form, tmp_path, monkeypatch):
    tuned = record("adan")
    text = export.render(tuned, form)
    check = {
        "hydra": lambda: check_hydra(text, tuned),
        "huggingface": lambda: check_huggingface(text, tuned, tmp_path),
    }[form]
    check()
    model = {"hydra": Probe, "huggingface": Labelled}[form]()
    right = expected(tuned, model)
    monkeypatch.setattr("autotune.optimizers.base.split", every_parameter)
    assert expected(tuned, model) != right
    monkeypatch.setattr(sys.modules[__name__], "expected", lambda *_: right)
    with pytest.raises(AssertionError):
        check()


def every_parameter(model, weight_decay):
    return [{"params": list(model.parameters()), "weight_decay": weight_decay}]


def test_steps_of_the_probe_move_every_parameter():
    model = Probe()
    before = weights(model)
    walk(model, torch.optim.SGD(model.parameters(), lr=0.1), range(3))
    assert int((weights(model) != before).sum()) > 30
