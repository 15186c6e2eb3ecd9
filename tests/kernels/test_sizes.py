"""Sizes of parameters and of their updates, for norms that span processes."""

import pytest
import torch

from autotune.kernels import backends
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules.decay import DECOUPLED
from autotune.kernels.rules.lamb import LAMB
from autotune.kernels.rules.norms import TRUST
from autotune.testing.backends import BACKENDS, usable

RULE = Rule(direction=LAMB, application=DECOUPLED, shaping=TRUST)
ROW = (0.1, 0.0, 0.9, 0.1, 0.999, 0.001, 0.1, 0.03, 1e-8, 0.1, 0.2, 2.0)
KINDS = [
    ((40,), torch.float32),
    ((0,), torch.float32),
    ((3, 5), torch.float64),
    ((7,), torch.float32),
]


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield backends.load(request.param)


def updates():
    draw = torch.Generator().manual_seed(0)
    made = []
    for shape, dtype in KINDS:
        p, g, m, v = (torch.rand(shape, generator=draw, dtype=dtype) for _ in range(4))
        made.append(Update(p, g, (m, v), ROW))
    return made


def test_sizes_come_in_the_order_of_tensors(backend):
    found = backend.sizes(RULE, updates(), torch.tensor(0.5, dtype=torch.float64))
    expected = [float(update.p.double().square().sum()) for update in updates()]
    torch.testing.assert_close(found[:, 0], torch.tensor(expected, dtype=torch.float64))
    others = backends.load("torch").sizes(RULE, updates(), torch.tensor(0.5, dtype=torch.float64))
    torch.testing.assert_close(found, others, rtol=1e-5, atol=1e-9)


def test_a_step_by_sizes_that_are_known_is_the_same(backend):
    plain, known = updates(), updates()
    backend.step(RULE, plain, None)
    backend.step(RULE, known, None, None, backend.sizes(RULE, known, None))
    for a, b in zip(plain, known, strict=True):
        torch.testing.assert_close(a.p, b.p, rtol=1e-6, atol=0.0)


def test_a_step_takes_the_sizes_it_is_given(backend):
    pieces, wholes = updates(), updates()
    sizes = 4.0 * backend.sizes(RULE, pieces, None)
    sizes[:, 0] = 0.0  # a norm of 0 scales nothing
    backend.step(RULE, pieces, None, None, sizes)
    rule = Rule(direction=LAMB, application=DECOUPLED)
    backend.step(rule, [update._replace(row=ROW[:-1]) for update in wholes], None)
    for a, b in zip(pieces, wholes, strict=True):
        torch.testing.assert_close(a.p, b.p, rtol=1e-6, atol=0.0)


def test_nothing_at_all_has_no_size(backend):
    nothing = [update for update in updates() if not update.p.numel()]
    assert backend.sizes(RULE, nothing, None).tolist() == [[0.0, 0.0, 0.0]]
    backend.step(RULE, nothing, None)
