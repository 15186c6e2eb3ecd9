"""Shaping: a number of a whole tensor that changes its gradient or its update, on every backend."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autotune.kernels import backends, torch_step
from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part, Rule, Shaping, Update
from autotune.kernels.rules.decay import DESCENT
from autotune.kernels.rules.sgd import SGD
from autotune.testing.backends import BACKENDS, usable


@jit
def mask(p, g, u, state, scalars):
    """Measure three things, one of them a mask, another of the state."""
    return tl.where(u * g > scalars[0], 1.0, 0.0), p + u, state[0] * scalars[1]


@jit
def mixed(roots, size, scalars):
    """Return a number that all of them change."""
    return roots[0] * roots[0] / size + roots[1] / (1.0 + roots[2]) + scalars[1]


@jit
def shifted(p, g, u, factor, scalars):
    """Scale, and add a share of the parameter."""
    return u * factor + scalars[1] * p


SHAPING = Shaping(measure=mask, factor=mixed, shape=shifted, sums=3, scalars=("low", "share"))
LATE = Rule(direction=SGD, application=DESCENT, shaping=SHAPING)
EARLY = replace(LATE, shaping=replace(SHAPING, early=True))


@jit
def remembered(p, g, state, scalars):
    """Add a share of the gradient before."""
    return g + scalars[0] * state[0], (g,)


FILTER = Part(fn=remembered, buffers=("last",), scalars=("share",))
BOTH = replace(LATE, gradient_shaping=replace(SHAPING, early=True), filter=FILTER)
ROW = (0.0, 0.9, 0.1, 0.0, 1.0, 0.05, 0.01, 0.3)  # SGD's five, lr, then the shaping's
ROW_OF_BOTH = (*ROW[:6], 0.4, 0.02, 0.2, *ROW[6:])  # the filter's, those of the first shaping
SIZES = [(40,), (), (3, 5), (70,)]


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield backends.load(request.param)


def updates(dtype=torch.float64, row=ROW):
    draw = torch.Generator().manual_seed(0)

    def tensor(shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)

    return [Update(tensor(s), tensor(s), (tensor(s),), row) for s in SIZES]


def by_hand(update, early):
    """Return the parameter and the buffer that a step leaves, in NumPy."""
    p, g, b = (t.numpy() for t in (update.p, update.g, *update.state))
    u, state = (g, b) if early else [0.9 * b + 0.1 * g] * 2
    sums = [(u * g > 0.01).sum(), ((p + u) ** 2).sum(), ((0.3 * state) ** 2).sum()]
    factor = sums[0] / p.size + np.sqrt(sums[1]) / (1 + np.sqrt(sums[2])) + 0.3
    shaped = u * factor + 0.3 * p
    kept = 0.9 * b + 0.1 * shaped if early else state
    return p - 0.05 * (kept if early else shaped), kept


@pytest.mark.parametrize("rule", [LATE, EARLY], ids=["update", "gradient"])
def test_a_tensor_is_shaped_by_sums_over_all_of_it(backend, rule):
    expected = [by_hand(update, rule is EARLY) for update in updates()]
    made = updates()
    backend.step(rule, made, None)
    for update, (p, b) in zip(made, expected, strict=True):
        torch.testing.assert_close(update.p, torch.as_tensor(p), rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(update.state[0], torch.as_tensor(b), rtol=1e-13, atol=1e-14)


def both_by_hand(update):
    """Return the parameter and the buffers that a step of all parts leaves, in NumPy."""
    p, g, b, last = (t.numpy() for t in (update.p, update.g, *update.state))
    c = g + 0.4 * last
    sums = [(c * c > 0.02).sum(), ((p + c) ** 2).sum(), ((0.2 * b) ** 2).sum()]
    factor = sums[0] / p.size + np.sqrt(sums[1]) / (1 + np.sqrt(sums[2])) + 0.2
    c = c * factor + 0.2 * p
    u = 0.9 * b + 0.1 * c
    sums = [(u * c > 0.01).sum(), ((p + u) ** 2).sum(), ((0.3 * u) ** 2).sum()]
    factor = sums[0] / p.size + np.sqrt(sums[1]) / (1 + np.sqrt(sums[2])) + 0.3
    return p - 0.05 * (u * factor + 0.3 * p), u, g


def updates_of_both():
    return [one._replace(state=(*one.state, one.p.sin()), row=ROW_OF_BOTH) for one in updates()]


def test_a_gradient_is_filtered_then_shaped_and_its_update_shaped_after(backend):
    expected = [both_by_hand(update) for update in updates_of_both()]
    made, known = updates_of_both(), updates_of_both()
    backend.step(BOTH, made, None)
    first = backend.sizes(BOTH, known, None)
    sizes = torch.cat([first, backend.sizes(BOTH, known, None, first)], dim=1)
    backend.step(BOTH, known, None, None, sizes)
    for own in (made, known):
        for update, values in zip(own, expected, strict=True):
            for actual, value in zip((update.p, *update.state), values, strict=True):
                torch.testing.assert_close(actual, torch.as_tensor(value), rtol=1e-12, atol=1e-13)


def test_a_rule_shapes_its_update_once():
    twice = replace(EARLY, gradient_shaping=replace(SHAPING, early=True))
    with pytest.raises(ValueError, match=r"^a rule shapes its gradient once, and its update once,"):
        torch_step.step(twice, updates(), None)


@pytest.mark.parametrize("rule", [LATE, EARLY], ids=["update", "gradient"])
def test_replicas_are_shaped_each_by_its_own_sums(backend, rule):
    clip = torch.tensor([1.0, 0.5], dtype=torch.float64)
    rows = [ROW, (*ROW[:5], 0.1, 0.0, 0.2)]
    apart = [updates(torch.float32, row) for row in rows]
    stacked = [[torch.stack([t, 2 * t]) for t in (one.p, one.g, *one.state)] for one in apart[0]]
    apart[1] = [
        one._replace(p=2 * one.p, g=2 * one.g, state=(2 * one.state[0],)) for one in apart[1]
    ]
    together = [Update(p, g, (b,), np.array(rows)) for p, g, b in stacked]
    for own, factor in zip(apart, clip, strict=True):
        backend.step(rule, own, factor)
    backend.step(rule, together, clip)
    for whole, *each in zip(together, *apart, strict=True):
        assert all(torch.equal(whole.p[k], one.p) for k, one in enumerate(each))


def test_what_is_measured_comes_with_the_number_of_elements(backend):
    made = updates()
    found = backend.sizes(LATE, made, None)
    assert found[:, 3].tolist() == [40.0, 1.0, 15.0, 70.0]
    torch.testing.assert_close(found, torch_step.sizes(LATE, made, None), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("rule", [LATE, EARLY], ids=["update", "gradient"])
def test_sums_that_are_known_shape_a_tensor_alike(backend, rule):
    plain, known = updates(), updates()
    backend.step(rule, plain, None)
    backend.step(rule, known, None, None, backend.sizes(rule, known, None))
    for a, b in zip(plain, known, strict=True):
        torch.testing.assert_close(a.p, b.p, rtol=1e-13, atol=0.0)


def test_pieces_are_shaped_as_the_whole(monkeypatch):
    whole, pieces = updates(), updates()
    torch_step.step(EARLY, whole, None)
    monkeypatch.setattr(torch_step, "_PIECE", 16)
    torch_step.step(EARLY, pieces, None)
    for a, b in zip(whole, pieces, strict=True):
        torch.testing.assert_close(a.p, b.p, rtol=1e-13, atol=0.0)


def test_a_rule_without_shaping_measures_nothing():
    with pytest.raises(ValueError, match=r"^a rule without shaping measures nothing, got Rule"):
        torch_step.sizes(replace(LATE, shaping=None), updates(), None)
