"""The naive transcription follows the authors' code, and the rules follow it."""

import json
import math
from importlib import import_module
from pathlib import Path

import pytest
import torch

from autotune.kernels.naive import filters
from autotune.kernels.naive.adagrad import row_squares
from autotune.kernels.naive.clip import clip
from autotune.kernels.naive.coord_clip import clipped
from autotune.optimizers import defaults, options
from autotune.optimizers.registry import resolve
from autotune.testing.recordings import recorded
from autotune.testing.trajectories import drawn, play

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = [  # of optimizers
    path for path in sorted(FOLDER.rglob("*.json")) if "kind" not in json.loads(path.read_text())
]


def filter_of(own, shapes):
    """Return ``f(g)``, what a tensor's gradients become before the rule; take the words of it."""
    word, limit = own.pop("gradient_filter", "none"), own.pop("layer_clip", 0.0)
    share, kept = own.pop("coord_clip", 0.0), {"update_clip"}  # which the rule does itself
    given = {k: own.pop(k, default) for k, default in options.DEFAULTS.items() if k not in kept}
    if word == "mars":
        first = own["betas"][0] if "betas" in own else own["momentum"]
        return filters.Mars(given["mars_gamma"], first).filtered
    if word == "grokfast":
        return filters.Grokfast(given["grokfast_alpha"], given["grokfast_lamb"]).filtered
    if share:
        return lambda g: clipped(g, share)
    counts = [math.prod(shape) for shape in shapes]
    if not limit:
        return list
    if given["layer_split"] == "uniform":
        return lambda g: filters.within(g, limit / math.sqrt(len(counts)))
    return lambda g: filters.within(g, limit * math.sqrt(len(g) / sum(counts)))


def naive_run(run):
    """Yield the parameters after each step, by the naive classes."""
    hyper = {**defaults(run.optimizer), **run.hyper}
    limit = hyper.pop("max_grad_norm")
    by_param = {i: {**hyper, **group} for group in run.groups for i in group["params"]}
    group_of = {i: k for k, group in enumerate(run.groups) for i in group["params"]}
    before = {i: filter_of(own, run.shapes) for i, own in by_param.items()}
    base = run.optimizer.removesuffix("-sf")
    module = import_module(f"autotune.kernels.naive.{base.replace('-', '_')}")
    cls = getattr(module, resolve(run.optimizer)[0].__name__)
    left_out = {"lr", "params"} | ({"eps"} if base == "sgd" else set())
    tensors = {
        i: cls(**{k: v for k, v in own.items() if k not in left_out}) for i, own in by_param.items()
    }
    last = by_param[run.groups[-1]["params"][0]]
    eps = 0.0 if run.optimizer == "lamb" else last.get("eps", 0.0)
    params, t = [list(values) for values in run.initial], 0
    for k, grads in enumerate(run.grads):
        t += 1
        squares = row_squares(grads, run.shapes)
        for i, g in enumerate(clip(grads, limit, eps)):
            lr = run.lr[k][group_of[i]] if run.lr else by_param[i]["lr"]
            if g is not None:
                bend = None if run.curvature is None else run.curvature[k][i]
                more = {} if bend is None else {"curvature": bend, "shape": run.shapes[i]}
                if by_param[i].get("accumulate") == "rows":
                    more = {"squares": squares[i]}
                params[i] = tensors[i].step(params[i], before[i](g), lr, t, **more)
            elif by_param[i].get("acceleration") == "schedule-free":
                tensors[i].average.skip(lr)
        yield params
        if k + 1 in run.restart_after:
            t = 0
            for tensor in tensors.values():
                tensor.restart()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_naive_follows_the_authors(path):
    run = recorded(path)
    for params, expected in zip(naive_run(run), run.expected["float64"], strict=True):
        for p, values in zip(params, expected, strict=True):
            assert p == pytest.approx(values, rel=1e-11, abs=1e-13)


VARIATIONS = {
    "adabelief": [
        {},
        {"rectify": False, "amsgrad": True, "eps": 1e-3},
        {"degenerated_to_sgd": False, "decay": "coupled"},
        {"rectify": False, "decay": "fixed"},
        {"betas": (0.9, 0.6)},
    ],
    "adagrad": [
        {},
        {"lr_decay": 0.3, "initial_accumulator_value": 0.2},
        {"accumulate": "rows", "momentum": 0.8, "lr_decay": 0.3, "max_grad_norm": 0.0},
    ],
    "adahessian": [
        {},
        {"hessian_power": 0.25, "block_sizes": (5, 0, 1, 1)},
        {"hessian_power": 0.0},
    ],
    "adan": [
        {},
        {"decay": "decoupled"},
        {"betas": (0.9, 0.8, 0.7)},
        {"cautious": True},
        {"cautious_decay": True},
        {"cautious_decay": True, "decay": "decoupled"},
    ],
    "adam": [{}, {"amsgrad": True}, {"eps_after_correction": True, "eps": 0.1}],
    "adamw": [{}, {"amsgrad": True}, {"cautious": True, "amsgrad": True}, {"cautious_decay": True}],
    "adopt": [{}, {"decay": "coupled", "clip_exponent": None}, {"betas": (0.8, 0.5)}],
    "diffgrad": [{}, {"as_published": True}],
    "sgd": [{}, {"nesterov": False, "dampening": 0.3}, {"momentum": 0.0}],
    "lamb-v3": [{}, {"clamp": 0.5}, {"adam": True}],
    "lars": [
        {"momentum": 0.9, "trust_coeff": 0.1},
        {"momentum": 0.5, "dampening": 0.3, "nesterov": True, "trust_clip": True},
        {"trust_coeff": 0.3, "always_adapt": True, "eps": 0.1},
    ],
    "stableadamw": [{}, {"betas": (0.5, 0.6), "eps": 0.3}],
    "lamb": [{}, {"trust_clip": True}, {"grad_averaging": False, "bias_correction": False}],
    "nadamw": [
        {},
        {"cautious": True},
        {"cautious": True, "cautious_decay": True},
        {"betas": (0.0, 0.9), "eps": 0.1},
    ],
    "nadamw-torch": [{}, {"decay": "coupled"}, {"momentum_decay": 0.0}, {"momentum_decay": 2.0}],
    "radam": [{}, {"decay": "coupled", "eps": 0.1}, {"betas": (0.9, 0.6)}],
    "lion": [
        {},
        {"cautious": True, "cautious_factor": 0.3},
        {"cautious_decay": True},
        {"betas": (0.0, 0.98)},
    ],
    "ademamix": [{}, {"alpha_warmup": 5, "beta3_warmup": 3, "betas": (0.9, 0.99, 0.97)}],
}
CASES = [
    (name, {**variation, "acceleration": acceleration})
    for name, variations in VARIATIONS.items()
    for variation in variations
    for acceleration in ("none", "win", "win2")
    if acceleration == "none"
    or not (variation.get("decay") in {"decoupled", "fixed"} or variation.get("cautious_decay"))
]
CASES += [
    (name, {**powers, "acceleration": "schedule-free"})
    for name in ("adan", "adam", "adamw", "radam", "sgd")
    for powers in ({}, {"r": 1.5, "weight_lr_power": 0.5})
]
FILTERED = {
    "mars": {"gradient_filter": "mars", "mars_gamma": 0.1},
    "grokfast": {"gradient_filter": "grokfast", "grokfast_alpha": 0.7, "grokfast_lamb": 1.5},
    "uniform": {"layer_clip": 1.5},
    "dim": {"layer_clip": 1.5, "layer_split": "dim"},
    "coordinates": {"coord_clip": 0.4},
}
UNFIT = [("lars", "mars"), ("lars", "uniform"), ("lars", "dim"), ("lars", "coordinates")]
UNFIT += [("adagrad", "mars"), ("adabelief", "coordinates")]
CASES += [
    (name, {**own, "acceleration": "none"})
    for name in VARIATIONS
    for word, own in FILTERED.items()
    if (name, word) not in UNFIT
]
CASES += [
    ("adan", {**FILTERED["mars"], "cautious": True, "acceleration": "win2"}),
    ("adamw", {**FILTERED["grokfast"], "r": 1.5, "acceleration": "schedule-free"}),
    ("lamb", {**FILTERED["mars"], "acceleration": "win"}),
    ("adamw", {"update_clip": 0.4, "coord_clip": 0.2, "amsgrad": True}),
    ("adamw", {"update_clip": 0.5, "acceleration": "schedule-free"}),
    ("adan", {"update_clip": 0.3, "cautious_decay": True}),
    ("adan", {"update_clip": 0.7, **FILTERED["grokfast"], "acceleration": "win2"}),
]


@pytest.mark.parametrize(("name", "hyper"), CASES, ids=str)
def test_rules_follow_naive(name, hyper):
    hyper = {"lr": 0.03, "weight_decay": 0.2, "max_grad_norm": 2.0, **hyper}
    run = drawn(name, hyper, [(5,), (3, 4), ()], steps=8, seed=1)
    rules = play(run, dtype=torch.float64, backend="torch")
    for params, (_, actual) in zip(naive_run(run), rules, strict=True):
        for p, a in zip(params, actual, strict=True):
            assert a.flatten().tolist() == pytest.approx(p, rel=1e-12, abs=1e-13)
