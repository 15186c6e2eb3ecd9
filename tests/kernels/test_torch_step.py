"""The torch backend gives the same numbers in pieces as in one."""

import pytest
import torch

from autotune.kernels import torch_step
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules.adam import ADAM
from autotune.kernels.rules.decay import DECOUPLED
from autotune.kernels.rules.lamb import LAMB

ROW = (0.0, 0.9, 0.1, 0.999, 0.001, 0.1, 0.03, 1e-8, 0.1, 0.2)
RULES = {
    "adamw": (Rule(direction=ADAM, application=DECOUPLED), ROW),
    "lamb": (Rule(direction=LAMB, application=DECOUPLED, trust=True), (0.1, *ROW, 2.0)),
}


def stepped(rule, row, shape):
    draw = torch.Generator().manual_seed(0)
    p, g, m, v = (torch.rand(shape, generator=draw, dtype=torch.float64) for _ in range(4))
    torch_step.step(rule, [Update(p, g, (m, v), row)], torch.tensor(0.5, dtype=torch.float64))
    return torch.stack([p, m, v])


@pytest.mark.parametrize("name", RULES)
def test_pieces_make_the_whole(monkeypatch, name):
    whole = stepped(*RULES[name], (7, 11))
    monkeypatch.setattr(torch_step, "_PIECE", 10)
    torch.testing.assert_close(stepped(*RULES[name], (7, 11)), whole, rtol=1e-14, atol=0.0)


def test_a_transposed_tensor_is_not_cut():
    tensors = [torch.rand(5, 7).t() for _ in range(4)]
    p, g, *state = tensors
    assert len(list(torch_step._pieces(Update(p, g, tuple(state), ROW)))) == 1
