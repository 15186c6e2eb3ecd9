"""The options for open_clip, through its own parser, optimizer and schedule."""

from __future__ import annotations

import ast
import inspect
import shlex
import textwrap
from types import SimpleNamespace

import pytest
import torch
from torch import optim

from autotune import export, optimizers
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
    walk,
    wanted,
    weights,
)

pytest.importorskip("open_clip_train", reason="open_clip is not installed")

from open_clip_train import main
from open_clip_train.params import ParseKwargs, parse_args
from open_clip_train.scheduler import cosine_lr

PER_EPOCH = 4


def words(text):
    body = text[text.index("AUTOTUNE=(\n") :].removeprefix("AUTOTUNE=(\n").removesuffix(")\n")
    return shlex.split(body)


def building():
    """Return the lines of main() that build an optimizer, compiled: they are no function."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(main.main)))
    found = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "opt.startswith('timm/')"
    )
    return compile(ast.Module([found], []), "open_clip_train/main.py", "exec")


def adamw(args, model):
    names = {"args": args, "model": model, "opt": args.opt, "optim": optim}
    exec(building(), names)
    return names["optimizer"]


def check(text, tuned):
    args, model = parse_args(words(text)), Probe()
    optimizer = adamw(args, model)
    same(per_parameter(model, [optimizer]), expected(tuned, model))
    assert args.epochs * PER_EPOCH == STEPS
    follow = cosine_lr(optimizer, args.lr, args.warmup, args.epochs * PER_EPOCH)
    follow(0)
    traced, warm = rates(optimizer, follow), round(tuned.warmup * STEPS)
    peak = tuned.hyper["lr"]
    # The documented difference: k / W for our k / (W + 1).
    close(traced[:warm], [peak * (step + 1) / warm for step in range(warm)])
    close(traced[warm:], wanted(tuned)[warm:])
    assert args.grad_clip_norm == (tuned.hyper["max_grad_norm"] or None)


def test_open_clip_builds_adamw_and_follows_its_schedule():
    tuned = record("adamw", epochs_of=PER_EPOCH, max_grad_norm=0.5)
    text = export.render(tuned, "openclip")
    check(text, tuned)
    assert "warning: open_clip's warm-up has lr * k / 4 at its k-th step, ours k / 5" in text
    args = parse_args(words(text))
    whole, later = resumed(lambda model: adamw(args, model))
    assert torch.equal(whole, later)


def test_the_released_open_clip_does_not_know_adan_s_betas_and_that_is_said(capsys):
    text = export.render(record("adan", epochs_of=PER_EPOCH), "openclip")
    with pytest.raises(SystemExit):
        parse_args(words(text))
    assert "unrecognized arguments: --opt-kwargs" in capsys.readouterr().err
    assert "warning: open_clip 3.3.0 does not have --opt-kwargs, which this needs" in text


def test_adan_s_words_are_those_of_timm_s_builder():
    from timm.optim import create_optimizer_v2

    tuned = record("adan", epochs_of=PER_EPOCH, decay="proximal")
    told = words(export.render(tuned, "openclip"))
    at = told.index("--opt-kwargs") + 1
    given = SimpleNamespace()
    ParseKwargs(["--opt-kwargs"], "opt_kwargs")(None, given, told[at : at + 2])
    lr, eps, decay = (float(told[told.index(f"--{key}") + 1]) for key in ("lr", "eps", "wd"))
    model, ours = Probe(), Probe()
    assert told[told.index("--opt") + 1] == "timm/adan"
    made = create_optimizer_v2(
        model, "adan", lr=lr, weight_decay=decay, eps=eps, **given.opt_kwargs
    )
    same(per_parameter(model, [made]), expected(tuned, model))
    walk(model, made, range(10))
    walk(ours, optimizers.build("adan", ours, tuned.hyper), range(10))
    moved = float((weights(ours) - weights(Probe())).norm())
    assert float((weights(model) - weights(ours)).norm()) < 1e-5 * moved


@pytest.mark.parametrize("fault", range(3))
def test_a_planted_fault_is_seen(fault):
    good = record("adamw", epochs_of=PER_EPOCH)
    _, wrong = list(faults(good))[fault]
    with pytest.raises(AssertionError):
        check(export.render(wrong, "openclip"), good)
