"""What controllers share: groups by part, checkpoints, refusals; and the rates of LANTON."""

import copy
import math
import pickle

import pytest
import torch

from autotune.optimizers import AGVM, LANTON, build, controllers, create
from autotune.optimizers.lanton import lowered
from autotune.optimizers.parts import chosen, layers, modules
from autotune.testing.backends import usable

CONTROLLED = ["agvm", "lanton"]
QUICK = {"agvm": {"controller_keep": 0.5, "controller_interval": 2, "controller_start": 1}}


def network(seed=0):
    torch.manual_seed(seed)
    body = [torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 4), torch.nn.ReLU()]
    made = torch.nn.ModuleDict({"body": torch.nn.Sequential(*body), "head": torch.nn.Linear(4, 2)})
    return made.double()


def give(model, k):
    draw = torch.Generator().manual_seed(k)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=draw, dtype=p.dtype)


def advance(model, optimizer, steps):
    for k in steps:
        give(model, k)
        optimizer.step()


def controlled(controller, name="adan", **more):
    model = network()
    own = {"controller": controller, **QUICK.get(controller, {})}
    hyper = {"lr": 0.05, "weight_decay": 0.1, **own, **more}
    return model, build(name, model, {"backend": "torch", **hyper})


def test_groups_are_split_by_module_and_keep_what_they_had():
    model, optimizer = controlled("agvm")
    homes = {id(p): name for name, p in model.named_parameters()}
    found = [({homes[id(p)].split(".")[0] for p in g["params"]}, g) for g in optimizer.param_groups]
    assert [(*parts, g["weight_decay"]) for parts, g in found] == [
        ("body", 0.1),
        ("head", 0.1),
        ("body", 0.0),
        ("head", 0.0),
    ]
    assert sorted(homes) == sorted(id(p) for g in optimizer.param_groups for p in g["params"])


def test_what_is_in_no_module_keeps_its_rate_and_its_name_goes_along():
    model = network()
    optimizer = create("adamw", model.named_parameters(), lr=0.1, backend="torch")
    controller = AGVM(optimizer, model, modules=["body.0", "head"])
    controller.step()
    rest, own = optimizer.param_groups[1], optimizer.param_groups[0]
    assert own["param_names"] == ["body.0.weight", "body.0.bias"]
    assert rest["param_names"] == ["body.1.weight", "body.1.bias", "body.2.weight", "body.2.bias"]
    assert ("multiplier" in own, "multiplier" in rest) == (True, False)


def test_an_empty_group_stays_and_has_no_part():
    model = network()
    groups = [{"params": []}, {"params": [*model.parameters()]}]
    optimizer = create("adamw", groups, lr=0.1, backend="torch")
    AGVM(optimizer, model).step()
    assert [len(group["params"]) for group in optimizer.param_groups] == [0, 6, 2]
    assert "multiplier" not in optimizer.param_groups[0]


@pytest.mark.parametrize("controller", CONTROLLED)
def test_a_built_optimizer_is_controlled_as_a_loop_would(controller):
    model, optimizer = controlled(controller)
    advance(model, optimizer, range(5))
    other = network()
    plain = build("adan", other, {"lr": 0.05, "weight_decay": 0.1, "backend": "torch"})
    own = {key.removeprefix("controller_"): v for key, v in QUICK.get(controller, {}).items()}
    looked = controllers.find(controller)(plain, other, **own)
    for k in range(5):
        give(other, k)
        looked.step()
        plain.step()
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    assert {group["lr"] for group in plain.param_groups} == {0.05}
    alone = network()
    advance(alone, build("adan", alone, {"lr": 0.05, "weight_decay": 0.1}), range(5))
    assert not torch.equal(alone["head"].weight, model["head"].weight)


@pytest.mark.parametrize("pause", [2, 3, 4])
@pytest.mark.parametrize("controller", CONTROLLED)
def test_a_pause_changes_no_bit(controller, pause, tmp_path):
    straight, whole = controlled(controller)
    advance(straight, whole, range(7))
    model, optimizer = controlled(controller)
    advance(model, optimizer, range(pause))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a")
    saved = torch.load(tmp_path / "a", weights_only=True)
    again, other = controlled(controller)
    again.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    advance(again, other, range(pause, 7))
    assert all(map(torch.equal, straight.parameters(), again.parameters()))
    assert [g["multiplier"] for g in other.param_groups] == [
        g["multiplier"] for g in whole.param_groups
    ]


def pickled(both):
    return pickle.loads(pickle.dumps(both))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize("controller", CONTROLLED)
def test_a_copy_is_controlled_by_a_controller_of_its_own(controller, copied):
    model, optimizer = controlled(controller)
    advance(model, optimizer, range(3))
    again, other = copied((model, optimizer))
    advance(model, optimizer, range(3, 7))
    told = optimizer.state_dict()["controller"]["multipliers"]
    alone = copy.deepcopy(other.state_dict()["controller"])
    assert alone["steps"] == 3
    advance(again, other, range(3, 7))
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    assert other.state_dict()["controller"]["multipliers"] == told != alone["multipliers"]
    other.load_state_dict(optimizer.state_dict())
    assert other.controller is not optimizer.controller
    assert other.controller.optimizer is other


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_controller_that_a_loop_calls_is_copied_with_its_optimizer(copied):
    model = network()
    optimizer = create("adamw", model.parameters(), lr=0.1, backend="torch")
    again, looked = copied((model, AGVM(optimizer, model)))
    give(again, 0)
    looked.optimizer.step()
    assert looked.steps == 0
    assert "controller" in looked.optimizer.state_dict()
    assert torch.equal(again["head"].weight, looked.optimizer.param_groups[-1]["params"][0])


def test_a_checkpoint_of_another_controller_is_refused_and_changes_nothing():
    model, optimizer = controlled("lanton")
    advance(model, optimizer, range(2))
    before = copy.deepcopy(optimizer.state_dict()["controller"])
    _, other = controlled("agvm")
    with pytest.raises(ValueError, match=r"^the checkpoint must hold the state of LANTON for .* A"):
        optimizer.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match=r"got none; load it where it was saved"):
        optimizer.load_state_dict({**optimizer.state_dict(), "controller": None})
    assert str(optimizer.state_dict()["controller"]) == str(before)


def test_a_graph_finds_multipliers_in_tensors_that_stay():
    with usable("triton"):
        model = network().float()
        hyper = {"lr": 0.05, "weight_decay": 0.1, "backend": "triton", "capturable": True}
        optimizer = build("adan", model, hyper)
        advance(model, optimizer, range(1))  # from then on steps are counted in a tensor
        AGVM(optimizer, model, interval=1, keep=0.5, start=0).attach()
        advance(model, optimizer, range(1, 2))
        held = [group["multiplier"] for group in optimizer.param_groups]
        assert [int(group["step"]) for group in optimizer.param_groups] == [2] * 4
        advance(model, optimizer, range(2, 4))
    assert all(g["multiplier"] is t for g, t in zip(optimizer.param_groups, held, strict=True))
    assert any(float(t) != 1.0 for t in held)


def test_scaled_gradients_are_measured_without_their_scale():
    model, optimizer = controlled("lanton")
    scaled, other = controlled("lanton")
    for k in range(3):
        give(model, k)
        optimizer.step()
        give(scaled, k)
        for p in scaled.parameters():
            p.grad *= 4.0
        other.grad_scale = torch.tensor(4.0)
        for hook in other._optimizer_step_pre_hooks.values():
            hook(other, (other,), {})
    assert [g["multiplier"] for g in other.param_groups] == [
        g["multiplier"] for g in optimizer.param_groups
    ]


def test_a_closure_is_refused():
    model, optimizer = controlled("agvm")
    give(model, 0)
    for how in ({"closure": lambda: 1.0}, None):
        with pytest.raises(ValueError, match=r"^AGVM reads gradients before a step, which a clos"):
            optimizer.step(**how) if how else optimizer.step(lambda: 1.0)


def test_what_captures_steps_is_refused(monkeypatch):
    model, optimizer = controlled("agvm")
    give(model, 0)
    monkeypatch.setattr("autotune.kernels.triton.tables.capturing", lambda device: True)
    with pytest.raises(RuntimeError, match=r"^AGVM reads gradients on the host at every step"):
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "hyper", "sentence"),
    [
        ("adamw-sf", {}, r"AGVM changes rates, and AdamW with acceleration 'schedule-free' aver"),
        ("lamb", {}, r"AGVM sets rates by layer, as LAMB does itself by the norms of tensors"),
        ("lars", {}, r"AGVM sets rates by layer, as LARS does itself"),
        ("adamw", {"controller_interval": 0}, r"interval must be at least 1, got 0"),
        ("adamw", {"controller_keep": 1.0}, r"keep must be in \[0, 1\), got 1"),
        ("adamw", {"controller_start": -1}, r"start must be a whole number of at least 0, got -1"),
        ("adamw", {"controller_kept": 0.5}, r"controller 'agvm' takes no 'controller_kept' \(kno"),
        ("adamw", {"controller": "agvn"}, r"unknown controller 'agvn'; did you mean 'agvm'\?"),
        (
            "adamw",
            {"controller": "lanton", "controller_alpha": 0.0},
            r"alpha must be above 0 and f",
        ),
    ],
)
def test_what_cannot_be_controlled_is_refused(name, hyper, sentence):
    with pytest.raises((ValueError, TypeError), match=f"^{sentence}"):
        build(name, network(), {"lr": 0.1, "controller": "agvm", **hyper})


def test_one_module_and_one_layer_are_refused():
    model = torch.nn.Linear(3, 2)
    for name, sentence in (
        ("agvm", r"^AGVM compares modules, and the model has none with parameters to train; "),
        ("lanton", r"^LANTON compares layers of a kind \(hidden matrices, embeddings and heads, "),
    ):
        with pytest.raises(ValueError, match=sentence):
            build("adamw", model, {"controller": name})


def test_an_optimizer_of_another_package_is_refused():
    model = network()
    with pytest.raises(
        ValueError, match=r"^AGVM writes multipliers of groups, which rules of this"
    ):
        AGVM(torch.optim.SGD(model.parameters()), model)


def test_a_schedule_and_a_second_controller_come_after_and_not_at_all():
    model = network()
    optimizer = build("adamw", model, {"lr": 0.1})
    AGVM(optimizer, model).step()
    with pytest.raises(ValueError, match=r"^LANTON writes the multiplier of groups, and a group h"):
        LANTON(optimizer, model)
    optimizer = build("adamw", model, {"lr": 0.1})
    torch.optim.lr_scheduler.ConstantLR(optimizer)
    with pytest.raises(ValueError, match=r"^AGVM splits groups, whose rates a schedule has noted"):
        AGVM(optimizer, model)


def test_none_is_no_controller():
    model = network()
    optimizer = build("adamw", model, {"lr": 0.1, "controller": "none", "controller_keep": 0.5})
    assert len(optimizer.param_groups) == 2
    assert not optimizer._optimizer_step_pre_hooks


def test_parts_are_the_children_the_named_or_the_layers():
    inner = network()
    model = torch.nn.ModuleDict({"model": torch.nn.ModuleDict({"net": inner})})
    assert [*modules(model)] == ["model.net.body", "model.net.head"]
    assert [*layers(inner)] == ["body.0", "body.1", "body.2", "head"]
    found = chosen(inner, ["body", "body.2"])
    assert {name: len(own) for name, own in found.items()} == {"body": 4, "body.2": 2}
    with pytest.raises(ValueError, match=r"'haed'; did you mean 'head'\?"):
        chosen(inner, ["haed"])
    inner["head"].weight.requires_grad_(False)
    assert len(layers(inner)["head"]) == 1


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_lanton_lowers_rates_by_the_change_of_gradients_in_the_dual_norm(name):
    model = network()
    optimizer = build(name, model, {"lr": 0.1, "backend": "torch"})
    controller = LANTON(optimizer, model, alpha=0.5, keep=0.9)
    noise, before = dict.fromkeys(controller.multipliers, 0.0), None
    for k in range(3):
        give(model, k)
        controller.step()
        grads = {name: p.grad for name, p in model.named_parameters()}
        for key in noise if before else ():
            layer, _, kind = key.partition(":")
            own = [n for n in grads if n.rpartition(".")[0] == layer]
            own = [n for n in own if (grads[n].ndim > 1) == (kind != "vector")]
            change = torch.cat([(grads[n] - before[n]).flatten() for n in own])
            size = float(change.abs().sum() if name == "adamw" else change.norm())
            noise[key] = 0.9 * noise[key] + 0.1 * size**2
        before = grads
    assert controller.multipliers == pytest.approx(lowered(noise, 0.5), rel=1e-5)
    assert {key.rpartition(":")[2] for key in noise} == {"matrix", "table", "vector"}
    assert min(controller.multipliers.values()) < 0.9


def test_matrices_that_muon_turns_are_measured_by_their_singular_values():
    model = network()
    optimizer = build("muon", model, {"lr": 0.1})
    controller = LANTON(optimizer, model, alpha=1.0, keep=0.0)
    give(model, 0)
    controller.step()
    before = model["body"][0].weight.grad
    give(model, 1)
    controller.step()
    change = model["body"][0].weight.grad - before
    exact = float(torch.linalg.matrix_norm(change, ord="nuc"))
    assert math.sqrt(controller._noise["body.0:matrix"]) == pytest.approx(exact, rel=0.35)
    assert math.sqrt(controller._noise["body.0:matrix"]) < 0.9 * float(change.abs().sum())


def test_arguments_of_a_controller_that_is_not_named_are_refused():
    assert build("adamw", network(), {"lr": 0.1, "controller": "none", "controller_alpha": 1.0})
    with pytest.raises(TypeError, match=r"^'controller_alpha' is for a controller, got none; name"):
        build("adamw", network(), {"lr": 0.1, "controller_alpha": 1.0})
