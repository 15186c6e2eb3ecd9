"""Caution: masks of what an update or weight decay does against the gradient or the update."""

import pytest
import torch

from autotune import arguments
from autotune.errors import SpecError
from autotune.optimizers import Adan, Lion, create, defaults
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.optimizers import advance, parameter

CAUTIOUS = [name for name in ("adamw", "adan", "lion", "nadamw") if "cautious" in defaults(name)]


def stepped(name, backend="torch", dtype=torch.float64, steps=3, **hyper):
    p = parameter(40, dtype)
    optimizer = create(name, [p], lr=0.05, weight_decay=0.5, backend=backend, **hyper)
    advance(optimizer, p, range(steps))
    return p.detach()


def test_four_optimizers_may_be_cautious():
    assert CAUTIOUS == ["adamw", "adan", "lion", "nadamw"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("decay", ["proximal", "decoupled"])
def test_a_cautious_decay_is_the_same_on_every_backend(backend, decay):
    expected = stepped("adan", decay=decay, cautious=True, cautious_decay=True)
    with usable(backend):
        hyper = {"decay": decay, "cautious": True, "cautious_decay": True}
        actual = stepped("adan", backend, torch.float32, **hyper)
    torch.testing.assert_close(actual.double(), expected, rtol=2e-5, atol=2e-6)


def test_only_what_does_not_grow_decays():
    p = torch.nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    p.grad = torch.tensor([1.0, -1.0, 0.0])
    Lion([p], lr=0.1, weight_decay=1.0, cautious_decay=True, backend="torch").step()
    torch.testing.assert_close(p.detach(), torch.tensor([0.8, 1.1, 0.9]))


def test_what_goes_against_the_gradient_waits_and_the_rest_makes_up_for_it():
    p = torch.nn.Parameter(torch.zeros(4))
    optimizer = Lion([p], lr=0.1, betas=(0.9, 0.5), cautious=True, backend="torch")
    p.grad = torch.tensor([1.0, 1.0, 1.0, 1.0])
    optimizer.step()
    p.grad = torch.tensor([1.0, -1.0, -1.0, -1.0])
    optimizer.step()  # along the old sum, which three new gradients contradict
    torch.testing.assert_close(p.detach(), torch.tensor([-0.5, -0.1, -0.1, -0.1]))


def test_where_all_goes_against_the_gradient_nothing_moves():
    p = torch.nn.Parameter(torch.zeros(2))
    optimizer = Lion([p], lr=0.1, betas=(0.9, 0.5), cautious=True)
    p.grad = torch.ones(2)
    optimizer.step()
    p.grad = -torch.ones(2)
    before = p.detach().clone()
    optimizer.step()
    assert torch.equal(p, before)


@pytest.mark.parametrize("name", CAUTIOUS)
def test_win_takes_a_cautious_update_but_no_cautious_decay(name):
    plain, cautious = (stepped(f"{name}-win2", cautious=on) for on in (False, True))
    assert not torch.equal(plain, cautious)
    sentence = (
        r"^cautious_decay must be False when acceleration is 'win2', whose points decay each on "
        r"its own, got True; leave one of them out$"
    )
    with pytest.raises(ValueError, match=sentence):
        stepped(f"{name}-win2", cautious_decay=True)


def test_a_checkpoint_from_before_caution_goes_on():
    p, q = parameter(5), parameter(5)
    first, second = Adan([p]), Adan([q])
    advance(first, p, range(3))
    saved = first.state_dict()
    for group in saved["param_groups"]:
        del group["cautious"], group["cautious_decay"]
    q.data.copy_(p)
    second.load_state_dict(saved)
    for optimizer, tensor in ((first, p), (second, q)):
        advance(optimizer, tensor, range(3, 5))
    assert torch.equal(p, q)


def words(framework, **changes):
    return arguments.words(framework, "adamw", {**defaults("adamw"), **changes}, 0.1, 1000)


def test_a_framework_without_words_for_caution_refuses_it():
    assert words("timm", cautious=True)[:2] == ["--opt", "cadamw"]
    assert words("hf")[:2] == ["--optim", "adamw_torch"]
    with pytest.raises(SpecError, match="has no words for cautious=True of adamw"):
        words("hf", cautious=True)
    with pytest.raises(SpecError, match="timm has no words for cautious_decay=True of adamw"):
        words("timm", cautious_decay=True)
