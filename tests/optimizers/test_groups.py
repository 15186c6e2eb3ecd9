import torch

from autotune.optimizers import AdamW
from autotune.optimizers.groups import split


def model():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def test_only_matrices_are_decayed():
    decayed, kept = split(model(), 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 1, 3, 3)]
    assert [tuple(p.shape) for p in kept["params"]] == [(2,), (2,), (2,)]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_frozen_parameters_are_left_out():
    whole = model()
    whole[0].weight.requires_grad_(False)
    assert [len(group["params"]) for group in split(whole, 0.1)] == [3]


def test_groups_reach_the_optimizer():
    optimizer = AdamW(split(model(), 0.3))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
