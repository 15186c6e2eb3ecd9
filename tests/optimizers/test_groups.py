"""Groups of a model's parameters: by weight decay, and by depth."""

import re

import pytest
import torch
from torch import nn

from autotune.optimizers import AdamW, Adan, layerwise, split


def model():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def test_only_matrices_are_decayed():
    decayed, kept = split(model(), 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 1, 3, 3)]
    assert [tuple(p.shape) for p in kept["params"]] == [(2,), (2,), (2,)]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_parameters_without_their_model_are_refused():
    sentence = (
        "split needs a model, as its parameters have names, got generator; pass the model itself"
    )
    with pytest.raises(TypeError, match=f"^{sentence}$"):
        split(nn.Linear(2, 2).parameters(), 0.1)


def test_frozen_parameters_are_left_out():
    whole = model()
    whole[0].weight.requires_grad_(False)
    assert [len(group["params"]) for group in split(whole, 0.1)] == [3]


def test_groups_reach_the_optimizer():
    optimizer = AdamW(split(model(), 0.3))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


def test_what_a_model_exempts_is_not_decayed():
    whole = Transformer()
    whole.no_weight_decay = lambda: {"position"}
    _, kept = split(whole, 0.1)
    assert any(p is whole.position for p in kept["params"])


class Block(nn.Module):
    """Holds a list of its own, which is not to be opened."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))


class Transformer(nn.Module):
    def __init__(self, blocks=3):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 5, 4))
        self.embed = nn.Embedding(7, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7)


def rates(whole, **kwargs):
    """Return the learning rate of each parameter by its name."""
    groups = layerwise(whole, 1.0, 0.5, 0.1, **kwargs)
    found = {id(p): group["lr"] for group in groups for p in group["params"]}
    return {name: found[id(p)] for name, p in whole.named_parameters() if id(p) in found}


def test_rates_fall_from_the_head_to_the_embeddings():
    found = rates(Transformer())
    assert found["position"] == found["embed.weight"] == 0.0625
    assert found["blocks.0.norm.weight"] == found["blocks.0.mlp.2.weight"] == 0.125
    assert found["blocks.2.mlp.0.bias"] == 0.5
    assert found["norm.weight"] == found["head.weight"] == 1.0


def test_every_depth_is_split_by_weight_decay():
    whole = Transformer()
    for group in layerwise(whole, 1.0, 0.5, 0.1):
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.1}


def test_every_parameter_is_in_one_group():
    whole = Transformer()
    taken = [id(p) for group in layerwise(whole, 1.0, 0.5, 0.1) for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in whole.parameters())


def test_a_tied_head_counts_once_as_an_embedding():
    whole = Transformer()
    whole.head.weight = whole.embed.weight
    groups = layerwise(whole, 1.0, 0.5, 0.1)
    tied = [group["lr"] for group in groups for p in group["params"] if p is whole.embed.weight]
    assert tied == [0.0625]


def test_frozen_blocks_keep_their_place_and_are_left_out():
    whole = Transformer()
    whole.blocks[1].requires_grad_(False)
    found = rates(whole)
    assert not [name for name in found if name.startswith("blocks.1")]
    assert found["blocks.0.norm.weight"] == 0.125


def test_layers_of_a_sequential_are_depths_and_the_last_keeps_the_rate():
    whole = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)), nn.ReLU())
    assert rates(whole) == {"0.weight": 0.5, "0.bias": 0.5, "2.0.weight": 1.0, "2.0.bias": 1.0}


def stages():
    """Return two stages of two blocks, the second behind a layer of its own."""
    whole = nn.Module()
    whole.stem = nn.Conv2d(1, 1, 1, bias=False)
    whole.stages = nn.ModuleList(nn.Module() for _ in range(2))
    for k, stage in enumerate(whole.stages):
        if k:
            stage.down = nn.Linear(1, 1, bias=False)
        stage.blocks = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    return whole


def test_blocks_may_be_named_by_a_pattern():
    assert rates(stages()) == {
        "stem.weight": 0.25,
        "stages.0.blocks.0.weight": 0.5,
        "stages.0.blocks.1.weight": 0.5,
        "stages.1.down.weight": 1.0,
        "stages.1.blocks.0.weight": 1.0,
        "stages.1.blocks.1.weight": 1.0,
    }
    assert rates(stages(), blocks="stages.*.blocks.*") == {
        "stem.weight": 0.0625,
        "stages.0.blocks.0.weight": 0.125,
        "stages.0.blocks.1.weight": 0.25,
        "stages.1.down.weight": 0.5,
        "stages.1.blocks.0.weight": 0.5,
        "stages.1.blocks.1.weight": 1.0,
    }


def test_a_schedule_keeps_the_ratios_of_layers():
    optimizer = Adan(layerwise(Transformer(), 1e-3, 0.5, 0.1))
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5)
    found = {group["lr"] for group in optimizer.param_groups}
    assert found == {1e-3 * 0.5**k for k in range(1, 6)}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"decay_rate": 0.0}, "decay_rate must be above 0 and at most 1, got 0"),
        ({"decay_rate": 1.5}, "decay_rate must be above 0 and at most 1, got 1.5"),
        ({"lr": -1.0}, "lr must be at least 0 and finite, got -1"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite, got -1"),
        (
            {"blocks": "layers.*"},
            "blocks='layers.*' matches no module with parameters; "
            "write names as model.named_modules() does, for example 'encoder.layer.*'",
        ),
        (
            {"model": nn.Linear(2, 2)},
            "the model has no ModuleList or Sequential to count depth by; "
            "name its blocks, for example blocks='layer*'",
        ),
    ],
    ids=str,
)
def test_a_layerwise_mistake_is_named(given, sentence):
    usual = {"model": Transformer(1), "lr": 1.0, "decay_rate": 0.5, "weight_decay": 0.1}
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        layerwise(**{**usual, **given})
