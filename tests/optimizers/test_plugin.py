"""A new optimizer is one file: a direction, its scalars, a constructor."""

import pytest
import torch

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.optimizers import RuleOptimizer
from autotune.testing.backends import BACKENDS, usable


@jit
def sign(p, g, state, scalars):
    """Step by the sign of the gradient, where it is not small."""
    towards = tl.where(g > 0.0, 1.0, -1.0)
    return tl.where(tl.abs(g) > scalars[0], towards, 0.0), state


class Sign(RuleOptimizer):
    def __init__(self, params, lr=0.1, weight_decay=0.0, eps=0.5, *, backend="auto", **win):
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "eps": eps,
            "acceleration": "none",
            "reckless_steps": (2.0, 8.0),
            **win,
        }
        super().__init__(params, defaults, max_grad_norm=0.0, backend=backend, state_dtype=None)

    def direction(self, group):
        return Part(fn=sign, scalars=("eps",))

    def scalars(self, group, step, fresh):
        return (group["eps"],)


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield request.param


class Short(Sign):
    def scalars(self, group, step, fresh):
        return ()


def test_scalars_that_a_direction_would_take_for_others_are_refused(backend):
    p = torch.nn.Parameter(torch.zeros(3))
    p.grad = torch.ones(3)
    told = r"^Short\.scalars must return 1 numbers \(eps\), as its direction says, got 0$"
    with pytest.raises(ValueError, match=told):
        Short([p], backend=backend).step()


def test_a_direction_without_buffers(backend):
    p = torch.nn.Parameter(torch.zeros(3))
    p.grad = torch.tensor([2.0, 0.1, -2.0])
    Sign([p], backend=backend).step()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.1, 0.0, 0.1]))


def test_win_comes_with_it(backend):
    p = torch.nn.Parameter(torch.zeros(3))
    p.grad = torch.tensor([2.0, 0.1, -2.0])
    optimizer = Sign([p], backend=backend, acceleration="win")
    optimizer.step()
    torch.testing.assert_close(optimizer.state[p]["x"], torch.tensor([-0.1, 0.0, 0.1]))
    torch.testing.assert_close(p.detach(), torch.tensor([-0.4, 0.0, 0.4]) / 3.0)
