"""Exports as their consumers build them, parameter by parameter; planted faults are seen.

What needs the consumer installed is in tests/integrations and tests/consumers. kohya's scripts and
nanoGPT are no packages: what they do with a file is written out here.
"""

from __future__ import annotations

import ast
import importlib
import json
import math
import subprocess
from dataclasses import replace

import optuna
import pytest
import torch
from torch import nn

from autotune import export
from autotune.errors import SpecError
from autotune.integrations.deepspeed import built
from autotune.integrations.suggestion import from_config
from autotune.results.restated import restated
from autotune.space.config import space_of
from autotune.testing.exports import HOSTILE, hostile
from autotune.testing.readback import (
    STEPS,
    Probe,
    close,
    expected,
    faults,
    per_parameter,
    rates,
    record,
    resumed,
    same,
    wanted,
)
from autotune.transfer.targets import Target


def shell(text, folder):
    """Return the words that a shell has, once it has sourced a file."""
    (folder / "tuned.sh").write_text(text, "utf-8")
    script = 'source tuned.sh; printf "%s\\0" "${AUTOTUNE[@]}"'
    done = subprocess.run(["bash", "-euc", script], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def options(words):
    found = {}
    for word in words:
        if word.startswith("--"):
            values = found.setdefault(word.removeprefix("--"), [])
        else:
            values.append(word)
    return found


def imported(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def keywords(words):
    return {key: ast.literal_eval(value) for key, value in (word.split("=") for word in words)}


class Kohya:
    """What library/train_util.py does with these options."""

    def __init__(self, text, folder):
        self.told = options(shell(text, folder))
        (self.rate,) = map(float, self.told["learning_rate"])

    def optimizer(self, model):
        cls = imported(self.told["optimizer_type"][0])
        arguments = keywords(self.told["optimizer_args"])
        # LoRA's groups have a learning rate, and nothing of decay.
        return cls([{"params": model.parameters(), "lr": self.rate}], lr=self.rate, **arguments)

    def schedule(self, optimizer):
        cls = imported(self.told["lr_scheduler_type"][0])
        return cls(optimizer, **keywords(self.told["lr_scheduler_args"]))


def check_kohya(text, tuned, folder):
    read, model = Kohya(text, folder), Probe()
    optimizer = read.optimizer(model)
    decay = tuned.hyper["weight_decay"]
    all_decayed = {n: {**e, "weight_decay": decay} for n, e in expected(tuned, model).items()}
    same(per_parameter(model, [optimizer]), all_decayed)
    schedule = read.schedule(optimizer)
    close(rates(optimizer, lambda _: schedule.step()), wanted(tuned))
    assert read.told["max_train_steps"] == [str(STEPS)]
    assert read.told["max_grad_norm"] == ["0"]


@pytest.mark.parametrize("name", ["adamw", "adan", "adan-win2"])
def test_kohya_builds_our_class_and_follows_our_schedule(name, tmp_path):
    tuned = record(name)
    text = export.render(tuned, "kohya")
    check_kohya(text, tuned, tmp_path)
    assert "warning: kohya's scripts decay all that they train" in text
    whole, later = resumed(Kohya(text, tmp_path).optimizer)
    assert torch.equal(whole, later)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_shell_runs_nothing_that_a_person_wrote(text, tmp_path):
    good = shell(export.render(record("adan"), "kohya"), tmp_path)
    assert shell(export.render(hostile(text, record("adan")), "kohya"), tmp_path) == good


NANOGPT = {  # the defaults of train.py: a key has to be among them, in the same type
    "learning_rate": 6e-4, "max_iters": 600000, "weight_decay": 1e-1, "beta1": 0.9, "beta2": 0.95,
    "grad_clip": 1.0, "decay_lr": True, "warmup_iters": 2000, "lr_decay_iters": 600000,
    "min_lr": 6e-5,
}  # fmt: skip


class NanoGPT:
    """What configurator.py, model.py and train.py do with a file."""

    def __init__(self, text):
        config = {}
        exec(compile(text, "tuned.py", "exec"), config)
        del config["__builtins__"]
        assert {key: type(value) for key, value in config.items()} == {
            key: type(NANOGPT[key]) for key in config
        }
        self.config = NANOGPT | config

    def optimizer(self, model):
        config = self.config
        parameters = list(model.parameters())
        groups = [
            {
                "params": [p for p in parameters if p.dim() >= 2],
                "weight_decay": config["weight_decay"],
            },
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        betas = config["beta1"], config["beta2"]
        return torch.optim.AdamW(groups, lr=config["learning_rate"], betas=betas)

    def rate(self, step):
        config = self.config
        warm, end, peak = (config[k] for k in ("warmup_iters", "lr_decay_iters", "learning_rate"))
        if step < warm:
            return peak * (step + 1) / (warm + 1)
        if step > end:
            return config["min_lr"]
        share = 0.5 * (1 + math.cos(math.pi * (step - warm) / (end - warm)))
        return config["min_lr"] + share * (peak - config["min_lr"])


def check_nanogpt(text, tuned):
    read, model = NanoGPT(text), Probe()
    same(per_parameter(model, [read.optimizer(model)]), expected(tuned, model))
    # Its loop ends after the step of max_iters.
    close([read.rate(step) for step in range(read.config["max_iters"] + 1)], wanted(tuned))
    assert read.config["decay_lr"]
    assert read.config["grad_clip"] == tuned.hyper["max_grad_norm"]


def test_nanogpt_builds_the_setting():
    tuned = record("adamw", max_grad_norm=0.5)
    check_nanogpt(export.render(tuned, "nanogpt"), tuned)
    whole, later = resumed(NanoGPT(export.render(tuned, "nanogpt")).optimizer)
    assert torch.equal(whole, later)


def check_deepspeed(text, tuned):
    config, model = json.loads(text), Probe()
    optimizer, schedule = built(model, config)
    same(per_parameter(model, [optimizer]), expected(tuned, model))
    close(rates(optimizer, lambda _: schedule.step()), wanted(tuned))
    assert config["gradient_clipping"] == tuned.hyper["max_grad_norm"]
    assert {g["max_grad_norm"] for g in optimizer.param_groups} == {0.0}


# What DeepSpeed's documentation names, with their types; what else it finds it leaves alone.
DEEPSPEED = {
    "train_batch_size": int,
    "gradient_clipping": float,
    "zero_allow_untested_optimizer": bool,
    "zero_force_ds_cpu_optimizer": bool,
    "autotune": dict,
}


@pytest.mark.parametrize("name", ["adamw", "adan-win2"])
def test_deepspeed_is_handed_the_optimizer(name):
    tuned = record(name, max_grad_norm=0.5)
    text = export.render(tuned, "deepspeed")
    check_deepspeed(text, tuned)
    assert {key: type(value) for key, value in json.loads(text).items()} == DEEPSPEED
    whole, later = resumed(lambda model: built(model, json.loads(text))[0])
    assert torch.equal(whole, later)


def test_another_configuration_of_deepspeed_is_refused():
    with pytest.raises(SpecError, match=r"^the configuration has no 'autotune'; give it autot"):
        built(Probe(), {"train_batch_size": 4})


SEEN = (AssertionError, ValueError)  # our optimizers refuse betas that are one minus betas


@pytest.mark.parametrize("fault", range(3))
def test_a_planted_fault_is_seen(fault, tmp_path):
    good, plain = record("adan-win2"), record("adamw")
    (_, wrong), (_, wrong_plain) = list(faults(good))[fault], list(faults(plain))[fault]
    with pytest.raises(SEEN):
        check_kohya(export.render(wrong, "kohya"), good, tmp_path)
    with pytest.raises(SEEN):
        check_deepspeed(export.render(wrong, "deepspeed"), good)
    with pytest.raises(SEEN):
        check_nanogpt(export.render(wrong_plain, "nanogpt"), plain)


def test_a_decayed_norm_is_seen_in_what_deepspeed_is_handed(monkeypatch):
    good, model = record("adan"), Probe()
    right = expected(good, model)
    together = lambda model, decay: [{"params": [*model.parameters()], "weight_decay": decay}]  # noqa: E731
    monkeypatch.setattr("autotune.optimizers.base.split", together)
    optimizer, _ = built(model, json.loads(export.render(good, "deepspeed")))
    with pytest.raises(AssertionError, match=r"norm\.weight"):
        same(per_parameter(model, [optimizer]), right)


def whole(name):
    """Return a record of the whole space of an optimizer, with a setting that lies in it."""
    hyper = {"lr": 3e-3, "betas": (0.97, 0.91, 0.985), "eps": 1e-8, "weight_decay": 0.04}
    hyper |= {"decay": "proximal", "reckless_steps": (2.0, 8.0), "max_grad_norm": 0.0}
    good = record(name)
    return replace(good, hyper=hyper, space=space_of(name).as_data())


def module(text):
    names = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return names


def test_a_study_of_optuna_tries_first_what_was_found():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tuned = whole("adan-win2")
    names = module(export.render(tuned, "optuna"))
    study = names["study"]()
    first = names["suggest"](study.ask())
    assert (first.optimizer, first.steps) == ("adan-win2", STEPS)
    assert first.hyper["lr"] == tuned.hyper["lr"]
    assert first.hyper["betas"] == pytest.approx(tuned.hyper["betas"])
    assert first.hyper["weight_decay"] == pytest.approx(0.04)
    assert first.warmup == pytest.approx(tuned.warmup)
    trial = study.ask()
    names["suggest"](trial)
    assert set(trial.params) == set(space_of("adan-win2"))


def test_ray_draws_from_the_space_and_knows_what_was_found():
    pytest.importorskip("ray.tune", reason="Ray is not installed")
    from ray.tune.search.variant_generator import generate_variants

    tuned = whole("adan-win2")
    names = module(export.render(tuned, "ray"))
    space = space_of("adan-win2")
    for _ in range(5):
        ((_, config),) = generate_variants(names["PARAM_SPACE"])
        for name, parameter in space.parameters.items():
            if hasattr(parameter, "low"):
                assert parameter.low <= config[name] <= parameter.high
        assert from_config(config).optimizer == "adan-win2"
    (found,) = names["FOUND"]
    assert from_config(found).hyper["betas"] == pytest.approx(tuned.hyper["betas"])


@pytest.mark.parametrize("form", ["openclip", "timm"])
def test_epochs_are_not_guessed(form):
    sentence = (
        f"^export '{form}' counts epochs, and how many steps one has is not recorded; give "
        "--target-epochs and --target-samples$"
    )
    with pytest.raises(SpecError, match=sentence):
        export.render(record("adan"), form)
    target = Target(epochs=4, samples=150)
    assert "steps_per_epoch 5\n" in export.render(restated(record("adan"), target), form)


@pytest.mark.parametrize("form", ["openclip", "timm"])
def test_a_run_of_broken_epochs_is_refused(form):
    sentence = f"^export '{form}' needs whole epochs, of 3 steps here, got a run of 20 steps; give "
    with pytest.raises(SpecError, match=sentence):
        export.render(record("adan", epochs_of=3), form)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("nanogpt", "adan"),
        ("nanogpt", "adan-win2"),
        ("torchtitan", "adan"),
        ("optax", "adan-win2"),
        ("openclip", "adan-win2"),
        ("timm", "adan-win2"),
    ],
)
def test_what_a_consumer_cannot_be_told_is_refused_by_name(form, name):
    with pytest.raises(SpecError, match=r"has no words for (Win, which )?adan"):
        export.render(record(name, epochs_of=5), form)


@pytest.mark.parametrize("form", ["hydra", "huggingface", "kohya", "mmengine", "nanogpt"])
def test_a_run_without_steps_is_refused(form):
    tuned = replace(record("adamw"), tuned_on={})
    sentence = f"^export '{form}' needs the steps of a run, which are not recorded; use --as torch"
    with pytest.raises(SpecError, match=sentence):
        export.render(tuned, form)


def test_every_export_of_a_setting_says_how_it_is_to_be_read():
    forms = {*export.formats()} - {
        "hydra-sweeper",
        "json",
        "optuna",
        "ray",
        "torch",
        "wandb",
        "yaml",
    }
    assert len(forms) == 11
    for form in forms:
        text = " ".join(export.render(record("adamw", epochs_of=5), form).replace("# ", "").split())
        for word in ("here undecayed: ", "first step: ", "the schedule counts: ", "clipping: "):
            assert word in text, (form, word)
        assert "batch: 32 samples an optimizer step" in text
        assert "run: 20 optimizer steps, 4 of them warm-up" in text


def test_the_probe_has_what_consumers_differ_in():
    dims = {name: parameter.ndim for name, parameter in Probe().named_parameters()}
    assert dims == {
        "embedding.weight": 2, "token": 3, "ls": 1, "norm.weight": 1, "norm.bias": 1,
        "head.weight": 2, "head.bias": 1,
    }  # fmt: skip
    assert isinstance(Probe().norm, nn.LayerNorm)


SETS = ["deepspeed", "huggingface", "hydra", "kohya", "lightning", "mmengine"]


@pytest.mark.parametrize("form", SETS)
def test_what_a_trainer_cannot_train_is_refused(form):
    good = record("adamw")
    constant = replace(good.schedule, type="constant")
    sentence = f"^export '{form}' has a cosine and no average of weights, and adamw-sf trains at a "
    with pytest.raises(SpecError, match=sentence):
        export.render(replace(good, optimizer="adamw-sf", schedule=constant), form)
    sentence = f"^export '{form}' leaves the gradients to the trainer, and adahessian has "
    with pytest.raises(SpecError, match=sentence):
        export.render(replace(good, optimizer="adahessian"), form)


def test_weights_ahead_are_measured_only_where_eval_is_called():
    good = record("adamw")
    ahead = {**good.hyper, "acceleration": "nesterov-ema"}
    ahead = replace(good, optimizer="adamw-nema", hyper=ahead)
    assert "optimizer.eval()  # the point without the look-ahead" in export.render(ahead, "torch")
    assert "adamw-nema" in export.render(ahead, "huggingface")
    for form in {*SETS} - {"huggingface"}:
        sentence = rf"^export '{form}' measures and saves the weights as they are, and adamw-nema "
        with pytest.raises(SpecError, match=sentence):
            export.render(ahead, form)


@pytest.mark.parametrize("form", ["kohya", "mmengine"])
def test_an_optimizer_that_tells_matrices_apart_needs_our_groups(form):
    tuned = replace(record("adamw"), optimizer="muon", hyper={"lr": 0.02, "weight_decay": 0.1})
    with pytest.raises(SpecError, match=r"without saying which are matrices of layers, and"):
        export.render(tuned, form)
    assert "muon" in export.render(tuned, "hydra")
