"""The callback, the groups and the schedule in the real Trainer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import autotune
from autotune.integrations.suggestion import from_config, presets

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from autotune.integrations.huggingface import Callback, Factory, factory, scheduler  # noqa: E402

STEPS = 9


class Scaled(nn.Module):
    """A bias, a norm, a layer scale, a class token and an embedding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(8, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.ls = nn.Parameter(torch.full((4,), 0.5))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, ids, labels):
        hidden = self.norm(self.embedding(ids).mean(1) * self.ls + self.token[0])
        logits = self.head(hidden)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def rows(number=32):
    ids = torch.arange(number * 3).reshape(number, 3) % 8
    return [{"ids": row, "labels": row.sum() % 2} for row in ids]


@pytest.fixture
def trainer(tmp_path):
    def make(callback=None, *, data=None, kind=transformers.Trainer, model=None, more=None, **args):
        given = {"eval_strategy": "no", "max_steps": STEPS, "max_grad_norm": 0.0, **args}
        return kind(
            model=model or Scaled(),
            args=transformers.TrainingArguments(
                output_dir=str(tmp_path),
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                per_device_train_batch_size=4,
                **given,
            ),
            train_dataset=rows(),
            eval_dataset=rows() if data is None else data,
            callbacks=[] if callback is None else [callback],
            **(more or {}),
        )

    return make


def test_every_evaluation_is_reported_and_the_last_step_evaluated(trainer, plan):
    told = plan()
    running = trainer(Callback(told.report), eval_strategy="steps", eval_steps=4)
    running.train()
    assert told.steps == [4, 8, STEPS]
    assert told.told[-1][1] == pytest.approx(running.evaluate()["eval_loss"])
    assert told.steps == [4, 8, STEPS], "an evaluation after training is not of the search"


def test_the_trainer_evaluates_at_the_trial_s_steps(trainer, plan):
    trial = plan()
    trainer(Callback(trial=trial)).train()
    assert trial.steps == [2, 6, 8]


def test_the_trainer_stops_when_told_to(trainer, plan):
    trial = plan(stop=6)
    running = trainer(Callback(trial=trial))
    running.train()
    assert trial.steps == [2, 6]
    assert running.state.global_step == 6


def test_gradient_accumulation_counts_optimizer_steps(trainer, plan):
    trial = plan()
    trainer(Callback(trial=trial), gradient_accumulation_steps=2).train()
    assert trial.steps == [2, 6, 8]


def test_accuracy_is_reported_too(trainer, plan):
    def measured(found):
        return {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())}

    trial = plan()
    running = trainer(Callback(trial=trial), more={"compute_metrics": measured})
    running.train()
    assert all(0 <= accuracy <= 1 for _, _, accuracy in trial.told)


def test_of_several_data_sets_the_named_one_is_reported(trainer, plan):
    trial = plan()
    data = {"seen": rows(), "new": rows(8)}
    running = trainer(Callback(trial=trial, metric="eval_new_loss"), data=data)
    running.train()
    assert trial.steps == [2, 6, 8]
    assert trial.told[-1][1] != running.evaluate()["eval_seen_loss"]


def test_a_loss_of_another_name_is_told_of(trainer, plan):
    running = trainer(Callback(plan().report, metric="eval_new_loss"), eval_strategy="epoch")
    with pytest.warns(UserWarning, match=r"^no measurement had 'eval_new_loss', only .*eval_loss"):
        running.train()


def test_without_an_evaluation_nothing_is_reported_and_that_is_said(trainer, plan):
    told = plan()
    with pytest.warns(UserWarning, match=r"^nothing was measured, so nothing was reported; "):
        trainer(Callback(told.report)).train()
    assert told.steps == []


def test_outside_a_search_the_callback_does_nothing(trainer):
    running = trainer(Callback(), eval_strategy="epoch")
    running.train()
    assert running.state.global_step == STEPS
    assert autotune.report(1, 2.0) is True


def decays(optimizer, model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_a_factory_makes_our_groups_and_the_trainer_s_decay_has_no_effect(trainer):
    found = from_config(presets("adan-win2", steps=STEPS)[0])
    given = {"optimizer_cls_and_kwargs": factory(found)}
    running = trainer(more=given, weight_decay=0.7)
    running.train()
    expected = dict.fromkeys(dict(running.model.named_parameters()), 0.0)
    expected |= dict.fromkeys(["embedding.weight", "token", "head.weight"], 0.02)
    assert decays(running.optimizer.optimizer, running.model) == expected
    assert running.optimizer.param_groups[0]["betas"] == found.hyper["betas"]


def test_a_class_would_be_given_the_trainer_s_own_groups(trainer):
    from autotune.optimizers import Adan

    given = {"optimizer_cls_and_kwargs": (Adan, {"weight_decay": 0.02})}
    running = trainer(more=given, weight_decay=0.7)
    assert decays(running.create_optimizer(), running.model)["ls"] == 0.7


def test_the_factory_takes_the_whole_model():
    model = Scaled()
    optimizer = Factory()(model, optimizer="adamw", lr=1e-3, weight_decay=0.1)
    assert decays(optimizer, model)["ls"] == 0.0


class Traced(transformers.TrainerCallback):
    def __init__(self):
        self.rates = []

    def on_step_begin(self, args, state, control, optimizer=None, **_):
        self.rates.append(optimizer.param_groups[0]["lr"])


def rates(running):
    traced = Traced()
    running.add_callback(traced)
    running.train()
    return traced.rates


def test_the_trainer_follows_our_schedule_from_its_first_step(trainer):
    found = from_config(presets("adan", steps=STEPS, space={"lr": 1.0, "warmup": 0.3})[0])
    running = trainer(more={"optimizer_cls_and_kwargs": factory(found)})
    running.lr_scheduler = scheduler(running.create_optimizer(), STEPS, found.warmup)
    ours = rates(running)
    assert ours[:4] == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1.0])
    assert 0 < ours[-1] < 0.1


def test_the_trainer_s_own_warm_up_would_begin_at_nothing(trainer):
    found = from_config(presets("adan", steps=STEPS, space={"lr": 1.0})[0])
    given = {"optimizer_cls_and_kwargs": factory(found)}
    own = rates(trainer(more=given, warmup_steps=3, lr_scheduler_type="cosine"))
    assert own[:4] == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
