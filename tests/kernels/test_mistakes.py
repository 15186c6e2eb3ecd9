"""Plant a mistake in a rule or in its bookkeeping: some recording must catch it."""

import inspect
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autotune.kernels.lang import Function
from autotune.kernels.rules import adam, adan, ademamix, decay, lamb, lion, nadamw, radam, sgd, win
from autotune.optimizers import LAMB, Adan, applications, base, clipping
from autotune.optimizers import adam as adam_module
from autotune.optimizers import adan as adan_module
from autotune.optimizers import ademamix as ademamix_module
from autotune.optimizers import lamb as lamb_module
from autotune.optimizers import lion as lion_module
from autotune.optimizers import nadamw as nadamw_module
from autotune.optimizers import radam as radam_module
from autotune.optimizers import sgd as sgd_module
from autotune.testing.recordings import recorded
from autotune.testing.trajectories import play

GOLDEN = sorted((Path(__file__).parents[1] / "golden").rglob("*.json"))
PARTS = {
    "ADAN": (adan_module, "ADAN", adan.ADAN),
    "ADAM": (adam_module, "ADAM", adam.ADAM),
    "AMSGRAD": (adam_module, "AMSGRAD", adam.AMSGRAD),
    "SGD": (sgd_module, "DIRECTION", sgd.SGD),
    "LAMB": (lamb_module, "DIRECTION", lamb.LAMB),
    "NADAMW": (nadamw_module, "NADAMW", nadamw.NADAMW),
    "RADAM": (radam_module, "RADAM", radam.RADAM),
    "LION": (lion_module, "LION", lion.LION),
    "ADEMAMIX": (ademamix_module, "ADEMAMIX", ademamix.ADEMAMIX),
    "PROXIMAL": (adan_module, "PROXIMAL", decay.PROXIMAL),
    "DECOUPLED": (adam_module, "DECOUPLED", decay.DECOUPLED),
}
MISTAKES = [
    ("ADAN", "tl.sqrt(n) / c3 + eps", "tl.sqrt(n / (c3 * c3) + eps)"),
    ("ADAN", "tl.sqrt(n) / c3 + eps", "(tl.sqrt(n) + eps) / c3"),
    ("ADAN", "ahead = g + b2 * d", "ahead = g + (1.0 - b2) * d"),
    ("ADAN", "b2 * v / c2", "(1.0 - b2) * v / c2"),
    ("ADAN", "seen * (g + q)", "g + q"),
    ("ADAN", "ema(v, d, b2, take2)", "ema(v, g, b2, take2)"),
    ("PROXIMAL", "proximal_step(p, u, lr, weight_decay)", "p * (1.0 - lr * weight_decay) - lr * u"),
    ("DECOUPLED", "p * (1.0 - lr * weight_decay) - lr * u", "p - lr * u"),
    ("AMSGRAD", "corrected(m, peak, scalars)", "corrected(m, v, scalars)"),
    ("SGD", "near * g + far * b", "g + far * b"),
    ("LAMB", "u + weight_decay * p", "u"),
    ("NADAMW", "near * g + far * m", "(near + far) * m"),
    ("NADAMW", "near * g + far * m", "near * g + far * state[0]"),
    ("RADAM", "by * tl.sqrt(v) + floor", "tl.sqrt(v) + floor"),
    ("LION", "sign(ema(state[0], g, b1, take1))", "sign(ema(state[0], g, b2, take2))"),
    ("LION", "sign(ema(state[0], g, b1, take1))", "sign(g)"),
    ("ADEMAMIX", "m / c1 + alpha * s", "(m + alpha * s) / c1"),
    ("ADEMAMIX", "ema(s, g, b3, take3)", "ema(s, g, b3, take1)"),
]
WIN_MISTAKES = [
    ("win", "gamma + gamma * lr * weight_decay", "gamma"),
    ("win", "gamma * x - gamma", "gamma * state[0] - gamma"),
    ("win2", "pull * y", "pull * state[1]"),
    ("win2", "gamma2 / gamma1", "gamma1 / gamma2"),
    ("win2", "1.0 + gamma2 + pull", "1.0 + gamma2"),
]


def mistaken(function, right, wrong):
    """Return a rule function with one expression replaced."""
    source = textwrap.dedent(inspect.getsource(function.fn))
    assert right in source
    namespace = dict(function.fn.__globals__)
    exec(source.replace(right, wrong).replace("@jit\n", ""), namespace)
    return Function(namespace[function.fn.__name__])


def caught_by(optimizer):
    """Return the recordings whose replay differs."""
    caught = []
    for path in GOLDEN:
        if path.stem.startswith(optimizer):
            run = recorded(path)
            played = play(run, dtype=torch.float64, backend="torch")
            for (_, params), expected in zip(played, run.expected["float64"], strict=True):
                flat = [p.flatten().tolist() for p in params]
                if flat != [pytest.approx(e, rel=1e-11, abs=1e-13) for e in expected]:
                    caught.append(path.stem)
                    break
    return caught


@pytest.mark.parametrize(("part", "right", "wrong"), MISTAKES)
def test_a_mistake_in_a_direction_or_a_decay_is_caught(monkeypatch, part, right, wrong):
    module, name, original = PARTS[part]
    monkeypatch.setattr(
        module, name, replace(original, fn=mistaken(original.fn, right, wrong)), raising=True
    )
    assert caught_by(module.__name__.rpartition(".")[2])


@pytest.mark.parametrize(("name", "right", "wrong"), WIN_MISTAKES)
def test_a_mistake_in_win_is_caught(monkeypatch, name, right, wrong):
    part = {"win": win.WIN, "win2": win.WIN2}[name]
    changed = replace(part, fn=mistaken(part.fn, right, wrong))
    monkeypatch.setattr(applications, "PARTS", {**applications.PARTS, name: changed})
    assert caught_by(f"adamw_{name}")


@pytest.mark.parametrize(("cls", "optimizer"), [(Adan, "adan"), (LAMB, "lamb")])
def test_counting_steps_by_parameter_is_caught(monkeypatch, cls, optimizer):
    monkeypatch.setattr(cls, "shared_clock", False)
    assert caught_by(optimizer)


def test_counting_steps_by_group_is_caught(monkeypatch):
    monkeypatch.setattr(adam_module.AdamW, "shared_clock", True)
    assert caught_by("adamw")


def test_clipping_without_eps_is_caught(monkeypatch):
    monkeypatch.setattr(base.RuleOptimizer, "clip_eps", lambda self: 0.0)
    assert caught_by("adamw")


def test_clipping_with_the_first_groups_eps_is_caught(monkeypatch):
    monkeypatch.setattr(
        base.RuleOptimizer, "clip_eps", lambda self: float(self.param_groups[0]["eps"])
    )
    assert caught_by("adamw")


def test_not_clipping_is_caught(monkeypatch):
    monkeypatch.setattr(clipping, "factor", lambda optimizer, work, prelude: None)
    assert caught_by("lamb")


def test_nothing_is_caught_without_a_mistake():
    assert caught_by("adan") == []
