"""A setting as words of a command line: what each framework's own parser reads back."""

import argparse
import ast
import shlex
from dataclasses import replace

import pytest

from autotune import arguments, optimizers
from autotune.arguments.template import Filling, check, filled, unsaid
from autotune.errors import SpecError, UnknownName
from autotune.search.opening import task_arguments
from autotune.studies.spec import parse
from autotune.tasks.resolve import resolve

SETTINGS = {
    name: {**optimizers.defaults(name), "lr": 0.1 + 0.2, "weight_decay": 1e-05}
    for name in ["adan", "adan-win2", "adamw", "adam", "lamb", "lion", "nadamw", "sgd", "sgd-win"]
}


def said(form, optimizer, **changes):
    return arguments.words(form, optimizer, SETTINGS[optimizer] | changes, 0.1, 1000)


def parsed(words, **options):
    """Return what argparse reads: options by name, with how each is declared."""
    parser = argparse.ArgumentParser()
    for name, how in options.items():
        parser.add_argument(f"--{name}", **how)
    found, rest = parser.parse_known_args(words)
    return {name: value for name, value in vars(found).items() if value is not None}, rest


def literals(pairs):
    """Read NAME=VALUE as kohya's scripts and open_clip do."""
    found = {}
    for pair in pairs:
        name, value = pair.split("=")
        try:
            found[name] = ast.literal_eval(value)
        except ValueError:
            found[name] = value
    return found


def test_the_forms_are_those_of_the_documentation():
    assert arguments.forms() == ["argparse", "hf", "hydra", "kohya", "openclip", "timm"]


@pytest.mark.parametrize("optimizer", SETTINGS)
def test_a_script_with_argparse_reads_every_argument_to_the_last_bit(optimizer):
    setting = SETTINGS[optimizer]
    options = {
        name.replace("_", "-"): {"type": float, "nargs": "+"} if isinstance(value, tuple) else {}
        for name, value in setting.items()
    }
    found, rest = parsed(said("argparse", optimizer), **options)
    for name, value in setting.items():
        read = found[name]
        assert tuple(read) == value if isinstance(value, tuple) else read == str(value)
    assert rest == ["--optimizer", optimizer, "--warmup", "0.1", "--steps", "1000"]


def filling(optimizer, **changes):
    hyper = SETTINGS[optimizer] | changes
    how = {"warmup": 0.1, "steps": 9, "seed": 7, "trial": "t", "json": "t.json", "yaml": "t.yaml"}
    return Filling(optimizer=optimizer, hyper=hyper, **how)


def test_args_leave_out_switches_that_are_off_as_the_optimizer_has_them():
    words = filling("adamw").words("args")
    assert [word for word in words if word.startswith("--")] == [
        *("--optimizer", "--lr", "--betas", "--eps", "--weight-decay", "--max-grad-norm"),
        *("--warmup", "--steps", "--seed"),
    ]
    assert "--cautious" in filling("adamw", cautious=True).words("args")
    # Off against the optimizer's own default, it has to be said.
    assert "--nesterov" in filling("sgd", nesterov=False).words("args")
    assert filling("adamw").words("cautious") == ["False"]
    assert "++optimizer.cautious=false" not in filling("adamw").words("args:hydra")


def test_a_search_that_was_begun_before_goes_on_with_all_of_them():
    words = replace(filling("adamw"), brief=False).words("args")
    assert words == [*said("argparse", "adamw")[:-1], "9", "--seed", "7"]
    spec = parse({"model": "command", "command": ["train.sh", "{args}"], "steps": 9})
    begun = task_arguments(spec, {"loop": "command"})
    assert begun["brief"] is False
    assert "args" not in resolve(**begun, look=False).facts()
    new = resolve(**task_arguments(spec, {}), look=False).facts()
    assert new["args"] == "without switches that are off"
    assert "brief" not in task_arguments(spec, new)


@pytest.mark.parametrize("optimizer", SETTINGS)
def test_kohya_builds_our_optimizer_with_the_whole_setting(optimizer):
    options = {
        "optimizer_type": {},
        "learning_rate": {"type": float},
        "optimizer_args": {"nargs": "*"},
        "lr_scheduler": {},
        "lr_warmup_steps": {"type": int},
        "max_train_steps": {"type": int},
        "max_grad_norm": {"type": float},
    }
    found, rest = parsed(said("kohya", optimizer), **options)
    assert rest == []
    own = {}
    for pair in found["optimizer_args"]:
        name, value = pair.split("=")
        own[name] = ast.literal_eval(value)
    assert {**own, "lr": found["learning_rate"]} == SETTINGS[optimizer]
    assert (found["lr_warmup_steps"], found["max_train_steps"]) == (100, 1000)
    assert found["max_grad_norm"] == 0  # the optimizer clips, as it was tuned to
    assert found["optimizer_type"].rpartition(".")[2] in dir(optimizers)


@pytest.mark.parametrize("optimizer", SETTINGS)
def test_hydra_reads_its_overrides_back(optimizer):
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser")
    overrides = parser.OverridesParser.create().parse_overrides(said("hydra", optimizer))
    found = {each.key_or_group: each.value() for each in overrides}
    for name, value in SETTINGS[optimizer].items():
        read = found[f"optimizer.{name}"]
        assert (tuple(read) if isinstance(value, tuple) else read) == value
    assert found["optimizer._target_"].startswith("autotune.optimizers.")
    assert (found["schedule.warmup"], found["schedule.steps"]) == (0.1, 1000)


TIMM = {
    "opt": {}, "lr": {"type": float}, "weight-decay": {"type": float},
    "opt-betas": {"type": float, "nargs": "+"}, "opt-eps": {"type": float},
    "momentum": {"type": float}, "clip-grad": {"type": float}, "opt-kwargs": {"nargs": "*"},
    "sched": {}, "epochs": {"type": int}, "warmup-epochs": {"type": int},
    "warmup-lr": {"type": float}, "min-lr": {"type": float}, "cooldown-epochs": {"type": int},
}  # fmt: skip


@pytest.mark.parametrize(
    ("optimizer", "changes", "name"),
    [
        ("adan", {}, "adan"),
        ("adan", {"decay": "decoupled"}, "adanw"),
        ("adamw", {"amsgrad": True}, "amsgrad"),
        ("adam", {}, "adam"),
        ("lamb", {}, "lamb"),
        ("lion", {}, "lion"),
        ("nadamw", {}, "nadamw"),
        ("sgd", {}, "sgd"),
        ("sgd", {"nesterov": False}, "momentum"),
    ],
)
def test_timm_s_options_say_everything(optimizer, changes, name):
    setting = SETTINGS[optimizer] | changes
    found, rest = parsed(said("timm", optimizer, **changes), **TIMM)
    assert rest == []
    assert found["opt"] == (name if name != "amsgrad" else "adamw")
    assert (found["lr"], found["weight_decay"]) == (setting["lr"], setting["weight_decay"])
    assert tuple(found.get("opt_betas", ())) == setting.get("betas", ())
    assert found.get("momentum") == setting.get("momentum")
    kwargs = literals(found.get("opt_kwargs", ()))
    assert all(setting[key] == value for key, value in kwargs.items())
    assert kwargs.get("amsgrad", False) == setting.get("amsgrad", False)
    assert (found["epochs"], found["warmup_epochs"]) == (1000, 100)
    # Our first step has this rate, too.
    assert found["warmup_lr"] == setting["lr"] / 101


def test_timm_clips_where_the_setting_does():
    assert parsed(said("timm", "adan", max_grad_norm=5.0), **TIMM)[0]["clip_grad"] == 5.0
    assert "clip_grad" not in parsed(said("timm", "lamb"), **TIMM)[0]  # timm's LAMB does it itself


OPENCLIP = {
    "opt": {}, "lr": {"type": float}, "beta1": {"type": float}, "beta2": {"type": float},
    "eps": {"type": float}, "wd": {"type": float}, "opt-kwargs": {"nargs": "*"},
    "warmup": {"type": int}, "lr-scheduler": {}, "grad-clip-norm": {"type": float},
}  # fmt: skip


def test_openclip_s_options_say_everything():
    found, rest = parsed(said("openclip", "adan", max_grad_norm=1.0), **OPENCLIP)
    assert rest == []
    kwargs = literals(found["opt_kwargs"])
    assert kwargs == {"betas": SETTINGS["adan"]["betas"], "no_prox": False}
    assert (found["opt"], found["warmup"], found["grad_clip_norm"]) == ("timm/adan", 100, 1.0)
    found, rest = parsed(said("openclip", "adamw"), **OPENCLIP)
    assert rest == []
    assert (found["beta1"], found["beta2"]) == SETTINGS["adamw"]["betas"]
    assert (found["wd"], found["eps"]) == (1e-05, 1e-08)


def test_hugging_face_s_arguments_are_fields_of_its_class():
    fields = pytest.importorskip("transformers.training_args").TrainingArguments.__annotations__
    words = said("hf", "adamw")
    found = dict(zip(words[::2], words[1::2], strict=True))
    assert {name.removeprefix("--") for name in found} <= fields.keys()
    assert (float(found["--learning_rate"]), found["--warmup_steps"]) == (0.1 + 0.2, "100")
    assert found["--max_grad_norm"] == "0.0"  # its own default clips


@pytest.mark.parametrize(
    ("form", "optimizer", "changes", "sentence"),
    [
        ("timm", "adan-win2", {}, "timm has no words for Win, which adan-win2 is; search adan"),
        (
            "openclip",
            "sgd-win",
            {},
            "open_clip has no words for Win, which sgd-win is; search adan or adamw, or let",
        ),
        ("openclip", "lamb", {}, "open_clip has no words for lamb"),
        ("openclip", "adamw", {"amsgrad": True}, "no words for amsgrad=True of adamw; fix it"),
        ("hf", "adan", {}, "Hugging Face's Trainer has no words for adan; search adamw"),
    ],
)
def test_what_a_framework_has_no_words_for_is_refused(form, optimizer, changes, sentence):
    with pytest.raises(SpecError, match=sentence):
        said(form, optimizer, **changes)


FILLING = Filling(
    optimizer="adan", hyper=SETTINGS["adan"], warmup=0.1, steps=1000, seed=7, trial="adan-3",
    json="/a folder/x.json", yaml="x.yaml",
)  # fmt: skip
SAID = {k: v for k, v in SETTINGS["adan"].items() if not k.startswith("cautious")}


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("{lr}", ["0.30000000000000004"]),
        ("--betas={betas}", ["--betas=0.98,0.92,0.99"]),
        ("{decay}", ["proximal"]),
        ("{optimizer}-{seed}-{steps}-{warmup}-{warmup_steps}", ["adan-7-1000-0.1-100"]),
        ("{{lr}}", ["{lr}"]),
        ('{{"lr": {lr}}}', ['{"lr": 0.30000000000000004}']),
        ("out/{trial}", ["out/adan-3"]),
        ("{json}", ["/a folder/x.json"]),
        ("{yaml}", ["x.yaml"]),
        ("{args:timm}", said("timm", "adan")),
        ("{args}", [*arguments.words("argparse", "adan", SAID, 0.1, 1000), "--seed", "7"]),
        (
            "x {args:kohya}",
            ["x " + shlex.join(arguments.words("kohya", "adan", SAID, 0.1, 1000))],
        ),
    ],
)
def test_a_word_is_filled(word, words):
    assert filled([word], FILLING) == words


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["{lrr}"], "unknown word of the command 'lrr'; did you mean 'lr'"),
        (["{args:tim}"], "did you mean 'args:timm'"),
        (["{}"], "unknown word of the command ''"),
        (["{lr}", "}"], "the word '}' of the command has a single brace; a brace of your own is"),
        (["train.py"], "no word of the command says the setting"),
        (["{seed}", "{steps}"], "no word of the command says the setting"),
        (["{momentum}"], "{momentum} of the command is no argument of adan; use {args} or {json}"),
    ],
)
def test_a_command_that_cannot_be_filled_is_refused(command, sentence):
    with pytest.raises((SpecError, UnknownName)) as refused:
        check(command, {name: SETTINGS[name] for name in ("adan", "sgd")})
    assert sentence in str(refused.value)


def test_a_framework_s_refusal_comes_before_any_trial():
    with pytest.raises(SpecError, match="timm has no words for Win"):
        check(["{args:timm}"], {"adan-win2": SETTINGS["adan-win2"]})


def test_what_varies_and_is_in_no_word_is_known():
    assert unsaid(["{lr}", "{warmup_steps}"], ["lr", "betas", "warmup"]) == ["betas"]
    assert unsaid(["{args:hf}"], ["lr", "betas", "warmup"]) == []
