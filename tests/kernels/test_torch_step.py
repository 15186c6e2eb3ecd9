"""The torch backend gives the same numbers in pieces as in one."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autotune.kernels import torch_step
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules.adam import ADAM
from autotune.kernels.rules.decay import DECOUPLED
from autotune.kernels.rules.lamb import LAMB
from autotune.kernels.rules.norms import TRUST

ROW = (0.0, 0.9, 0.1, 0.999, 0.001, 0.1, 0.03, 1e-8, 0.1, 0.2)
RULES = {
    "adamw": (Rule(direction=ADAM, application=DECOUPLED), ROW),
    "lamb": (Rule(direction=LAMB, application=DECOUPLED, shaping=TRUST), (0.1, *ROW, 2.0)),
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


def test_a_tensor_with_gaps_is_not_cut(monkeypatch):
    monkeypatch.setattr(torch_step, "_PIECE", 10)
    p, g, *state = (torch.rand(5, 14)[:, ::2] for _ in range(4))
    assert len(list(torch_step._pieces(Update(p, g, tuple(state), ROW)))) == 1


def transposed(values):
    return values.t().contiguous().t()


def channels_last(values):
    return values.view(2, 5, 3, 4).contiguous(memory_format=torch.channels_last)


def as_it_is(values):
    return values


class Sizes(TorchDispatchMode):
    """Notes how many elements the largest result of an operation has that is no view."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves(args) if is_tensor(t)}
        new = [t for t in tree_leaves(made) if is_tensor(t)]
        sizes = [t.numel() for t in new if t.untyped_storage().data_ptr() not in given]
        self.largest = max([self.largest, *sizes])
        return made


def is_tensor(value):
    return isinstance(value, torch.Tensor)


@pytest.mark.parametrize("name", [*RULES, "dithered"])
@pytest.mark.parametrize("lay", [transposed, channels_last], ids=lambda f: f.__name__)
def test_temporaries_are_as_small_in_any_order_of_memory(monkeypatch, lay, name):
    monkeypatch.setattr(torch_step, "_PIECE", 16)
    rule, row = RULES.get(name, RULES["adamw"])
    dtype = torch.bfloat16 if name == "dithered" else torch.float64
    rule = replace(rule, dithered=(0, 2, 3)) if name == "dithered" else rule
    clip, ends = torch.tensor(0.5, dtype=torch.float64), []
    for piece in (16, 1000):
        monkeypatch.setattr(torch_step, "_PIECE", piece)
        draw = torch.Generator().manual_seed(0)
        p, g, *state = (
            lay(torch.rand(10, 12, generator=draw, dtype=torch.float64).to(dtype)) for _ in range(4)
        )
        with Sizes() as sizes:
            torch_step.step(rule, [Update(p, g, tuple(state), row, 7)], clip)
        assert (sizes.largest <= 16) == (piece == 16)
        assert p.stride() == g.stride() != torch.empty(p.shape).stride()
        ends.append(torch.stack([p, *state]))
    torch.testing.assert_close(*ends, rtol=0.0 if name == "dithered" else 1e-14, atol=0.0)


def test_a_gradient_in_another_order_steps_alike(monkeypatch):
    monkeypatch.setattr(torch_step, "_PIECE", 16)
    ends = []
    for lay in (as_it_is, transposed):
        draw = torch.Generator().manual_seed(0)
        p, g, *state = (torch.rand(10, 12, generator=draw) for _ in range(4))
        kept = tuple(map(transposed, state))
        torch_step.step(RULES["adamw"][0], [Update(p := transposed(p), lay(g), kept, ROW)], None)
        ends.append(p)
    assert torch.equal(*ends)
