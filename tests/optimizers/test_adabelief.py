"""What AdaBelief has of its own: kinds of decay, the first steps, and the authors' checkpoints."""

import pytest
import torch

from autotune.optimizers import create, tape
from autotune.optimizers.adabelief import rectified
from autotune.testing.optimizers import advance, parameter


@pytest.mark.parametrize("acceleration", ["win", "win2"])
def test_a_fixed_decay_is_refused_under_win(acceleration):
    sentence = (
        "^decay must be 'decoupled' or 'coupled' when acceleration is "
        f"'{acceleration}', got 'fixed'$"
    )
    with pytest.raises(ValueError, match=sentence):
        create(f"adabelief-{acceleration}", [parameter(2)], decay="fixed")


def test_an_unknown_decay_is_refused():
    sentence = "^decay must be 'decoupled', 'coupled' or 'fixed', got 'proximal'$"
    with pytest.raises(ValueError, match=sentence):
        create("adabelief", [parameter(2)], decay="proximal")


@pytest.mark.parametrize("acceleration", ["none", "win2"])
def test_a_coupled_decay_is_no_decay_of_the_application(acceleration):
    p, q = parameter(5), parameter(5)
    common = {"acceleration": acceleration, "backend": "torch"}
    ours = create("adabelief", [p], weight_decay=0.3, decay="coupled", **common)
    plain = create("adabelief", [q], **common)
    for _ in range(3):
        p.grad, q.grad = torch.ones(5), torch.ones(5) + 0.3 * p.detach()
        ours.step()
        plain.step()
        torch.testing.assert_close(p, q)


def test_without_a_first_phase_the_first_five_steps_only_decay():
    p = parameter(5)
    before = p.detach().clone()
    hyper = {"lr": 0.1, "weight_decay": 0.5, "degenerated_to_sgd": False, "backend": "torch"}
    optimizer = create("adabelief", [p], **hyper)
    advance(optimizer, p, range(5))
    torch.testing.assert_close(p.detach(), before * 0.95**5)
    advance(optimizer, p, range(5, 6))
    assert not torch.allclose(p.detach(), before * 0.95**6, atol=1e-4)


def test_averages_of_few_steps_are_never_sure_enough():
    # 2 / (1 - 0.6) - 1 is 4, by which the formula would divide
    assert rectified(0.6, 1000) == (0.0, 1.0)


def test_what_is_sure_is_known_from_the_fifth_length_on():
    sure = [rectified(0.999, step)[0] for step in range(1, 9)]
    assert sure == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("hyper", [{}, {"rectify": False}, {"degenerated_to_sgd": False}], ids=str)
def test_a_device_can_compute_its_scalars(hyper):
    optimizer = create("adabelief", [parameter(2)], **hyper)
    [group] = optimizer.param_groups
    assert tape.noted(optimizer, group, optimizer.rule(group)) is not None


def test_the_authors_checkpoint_goes_on_with_its_largest_mean():
    p = parameter(3)
    optimizer = create("adabelief", [p], amsgrad=True, rectify=False, backend="torch")
    names = ("exp_avg", "exp_avg_var", "max_exp_avg_var")
    state = {
        name: torch.full((3,), value) for name, value in zip(names, (0.0, 0.1, 4.0), strict=True)
    }
    words = {"weight_decouple": True, "fixed_decay": False, "buffer": [[None, None, None]] * 10}
    group = {**optimizer.state_dict()["param_groups"][0], **words}
    optimizer.load_state_dict({"state": {0: {"step": 7, **state}}, "param_groups": [group]})
    optimizer.step()
    assert optimizer.state[p]["max_exp_avg_var"].tolist() == [4.0] * 3
    assert optimizer.state[p]["step"] == 8
