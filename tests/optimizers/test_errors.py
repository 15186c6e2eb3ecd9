"""Each refusal, its sentence quoted whole."""

import re

import pytest
import torch

from autotune.kernels import backends
from autotune.optimizers import LAMB, SGD, Adam, AdamW, Adan, create

ALL = [LAMB, SGD, Adam, AdamW, Adan]


def parameter():
    return torch.nn.Parameter(torch.zeros(2))


def refused(error, sentence):
    return pytest.raises(error, match=f"^{re.escape(sentence)}$")


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    ("hyper", "sentence"),
    [
        ({"lr": -1}, "lr must be at least 0 and finite, got -1"),
        ({"lr": float("nan")}, "lr must be at least 0 and finite, got nan"),
        ({"eps": -1e-8}, "eps must be at least 0 and finite, got -1e-08"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0 and finite, got -0.1"),
        ({"weight_decay": 1e400}, "weight_decay must be at least 0 and finite, got inf"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be at least 0 and finite, got -1"),
        (
            {"reckless_steps": (0.0, 8.0)},
            "reckless_steps[0] must be above 0 and finite, got 0",
        ),
        ({"reckless_steps": (2.0,)}, "reckless_steps must be 2 numbers, got (2.0,)"),
        ({"backend": "gpu"}, "backend must be 'auto', 'triton', 'numba' or 'torch', got 'gpu'"),
        (
            {"backend": "triton"},
            "backend 'triton' needs a CUDA or ROCm device, parameters are on cpu; "
            "use backend='torch'",
        ),
        (
            {"state_dtype": torch.float16},
            "state_dtype must be None, torch.float32 or torch.bfloat16, got torch.float16",
        ),
    ],
    ids=str,
)
def test_values_out_of_range(cls, hyper, sentence):
    with refused(ValueError, sentence):
        cls([parameter()], **hyper)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("value", ["Win", None])
def test_an_acceleration_that_a_class_has_not(cls, value):
    offered = (
        "'win', 'win2', 'schedule-free' or 'nesterov-ema'"
        if "sf" in cls.forms
        else "'win' or 'win2'"
    )
    with refused(ValueError, f"acceleration must be 'none', {offered}, got {value!r}"):
        cls([parameter()], acceleration=value)


@pytest.mark.parametrize("cls", [LAMB, Adam, AdamW])
def test_a_beta_out_of_range_is_named(cls):
    with refused(ValueError, "betas[1] must be in [0, 1), got 1.5"):
        cls([parameter()], betas=(0.9, 1.5))


def test_two_betas_are_too_few_for_adan():
    with refused(ValueError, "betas must be 3 numbers, got (0.9, 0.99)"):
        Adan([parameter()], betas=(0.9, 0.99))


@pytest.mark.parametrize(
    ("cls", "betas", "meant"),
    [
        (Adan, (0.02, 0.08, 0.01), "0.98, 0.92, 0.99"),
        (Adan, [0.1, 0.1, 0.001], "0.9, 0.9, 0.999"),
        (AdamW, (0.1, 0.001), "0.9, 0.999"),
        (LAMB, torch.tensor([0.25, 0.125]), "0.75, 0.875"),
    ],
)
def test_betas_in_the_papers_spelling_are_refused(cls, betas, meant):
    printed = ", ".join(f"{float(beta):g}" for beta in betas)
    sentence = (
        "betas must be what a step keeps, at least one of them 0.5 or more, "
        f"got ({printed}), which looks like 1 - beta; write ({meant})"
    )
    with refused(ValueError, sentence):
        cls([parameter()], betas=betas)
    optimizer = cls([parameter()])
    with refused(ValueError, sentence):
        optimizer.add_param_group({"params": [parameter()], "betas": betas})
    optimizer.param_groups[0]["betas"] = betas
    with refused(ValueError, sentence):
        optimizer.step()


@pytest.mark.parametrize(
    ("cls", "betas"), [(Adan, (0.0, 0.0, 0.0)), (Adan, (0.1, 0.2, 0.9)), (Adam, (0.0, 0.3))]
)
def test_betas_that_nobody_would_take_for_the_papers_are_taken(cls, betas):
    assert cls([parameter()], betas=betas).param_groups[0]["betas"] == betas


def test_a_word_is_not_a_learning_rate():
    with refused(TypeError, "lr must be a number, got 'fast'"):
        Adan([parameter()], lr="fast")


def test_an_unknown_decay():
    with refused(ValueError, "decay must be 'proximal' or 'decoupled', got 'l2'"):
        Adan([parameter()], decay="l2")


def test_win_is_proximal():
    with refused(
        ValueError,
        "decay must be 'proximal' when acceleration is 'win2', got 'decoupled'",
    ):
        Adan([parameter()], decay="decoupled", acceleration="win2")


@pytest.mark.parametrize("name", ["momentum", "dampening"])
def test_a_share_out_of_range(name):
    with refused(ValueError, f"{name} must be in [0, 1), got 1"):
        SGD([parameter()], **{name: 1.0})


@pytest.mark.parametrize("cls", ALL)
def test_a_groups_values_are_checked(cls):
    with refused(ValueError, "lr must be at least 0 and finite, got -2"):
        cls([{"params": [parameter()]}, {"params": [parameter()], "lr": -2.0}])


@pytest.mark.parametrize(("name", "value"), [("max_grad_norm", 1.0), ("backend", "numba")])
def test_what_is_one_for_all_may_not_differ_in_a_group(name, value):
    groups = [{"params": [parameter()], name: value}]
    with refused(
        ValueError,
        f"{name} holds for the whole optimizer, got another value in a group; "
        "set it in the constructor",
    ):
        Adan(groups)


def test_complex_parameters():
    p = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    sentence = "parameters must be real, got torch.complex64; pass torch.view_as_real(parameter)"
    with refused(ValueError, sentence):
        Adan([p])


def test_a_refused_group_is_not_kept():
    optimizer = Adan([parameter()])
    p = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(ValueError, match="must be real"):
        optimizer.add_param_group({"params": [p]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("cls", ALL)
def test_sparse_gradients_change_nothing(cls):
    table = torch.nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    optimizer = cls(table.parameters())
    with refused(
        ValueError,
        f"{cls.__name__} takes dense gradients, got a sparse one; "
        "build the layer with sparse=False",
    ):
        optimizer.step()
    assert not optimizer.state


def test_complex_gradients():
    p = parameter()
    p.grad_dtype = None
    p.grad = torch.ones(2, dtype=torch.complex64)
    sentence = "gradients must be real, got torch.complex64; give the parameter a real grad_dtype"
    with refused(ValueError, sentence):
        Adan([p]).step()


def test_a_gradient_that_outlived_its_parameters_data():
    p = parameter()
    p.grad, p.data = torch.ones(2), torch.zeros(3, 2)
    optimizer = Adan([p])
    with refused(
        ValueError,
        "a gradient must have its parameter's shape (3, 2), got (2,); "
        "call zero_grad() after replacing a parameter's data",
    ):
        optimizer.step()
    assert "step" not in optimizer.param_groups[0]


@pytest.mark.parametrize(
    ("word", "value", "way"),
    [
        ("no_prox", True, "write decay='decoupled' for no_prox=True"),
        ("acceleration_mode", "win2", "write acceleration instead"),
        ("maximize", True, "negate the loss"),
    ],
)
def test_a_word_of_others_in_a_group(word, value, way):
    with refused(ValueError, f"a group cannot set '{word}', got {value!r}; {way}"):
        Adan([{"params": [parameter()], word: value}])


@pytest.mark.parametrize("cls", ALL)
def test_maximize_is_not_offered(cls):
    with pytest.raises(TypeError, match="unexpected keyword argument 'maximize'"):
        cls([parameter()], maximize=True)


@pytest.mark.parametrize(
    ("word", "way"),
    [
        ("fused", "leave it out: backend='auto' takes the fastest that runs here"),
        ("foreach", "leave it out: all tensors are stepped together"),
        ("maximize", "negate the loss"),
        ("no_prox", "write decay='decoupled' for no_prox=True"),
    ],
)
def test_a_keyword_of_others_is_refused_with_what_to_write(word, way):
    with refused(TypeError, f"got an unexpected keyword argument '{word}'; {way}"):
        AdamW([parameter()], **{word: True})


def test_numba_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda module: False)
    sentence = "backend 'numba' needs the cpu extra: pip install 'adan-autotune[cpu]'"
    with refused(ImportError, sentence):
        Adan([parameter()], backend="numba")


def test_triton_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda module: False)
    sentence = "backend 'triton' needs the package triton; use backend='auto'"
    with refused(ImportError, sentence):
        Adan([parameter()], backend="triton")


def test_auto_without_numba_is_torch(monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda module: False)
    assert Adan([parameter()]).backend_used == "torch"


def test_numba_on_another_device():
    p = torch.nn.Parameter(torch.zeros(2, device="meta"))
    sentence = "backend 'numba' runs parameters on cpu, got one on meta; use backend='torch'"
    with refused(ValueError, sentence):
        Adan([p], backend="numba")


def test_an_unknown_name_suggests():
    with pytest.raises(ValueError, match=r"^unknown optimizer 'adna'; did you mean 'adan'\? \("):
        create("adna", [parameter()])


def test_an_unknown_keyword_suggests():
    with pytest.raises(
        TypeError, match=r"^adan takes no 'weight_decy'; did you mean 'weight_decay'\? \(known: "
    ):
        create("adan", [parameter()], weight_decy=0.1)


def test_a_name_and_a_keyword_that_disagree():
    with refused(
        ValueError,
        "acceleration must be 'win2' for adamw-win2, got 'win'; use 'adamw' to choose it freely",
    ):
        create("adamw-win2", [parameter()], acceleration="win")


def test_a_group_whose_backend_cannot_be_imported_is_not_kept(monkeypatch):
    optimizer = AdamW([parameter()], backend="torch")

    def hindered(*_):
        raise ImportError("backend 'torch' cannot run")

    monkeypatch.setattr(backends, "choose", hindered)
    with pytest.raises(ImportError, match="cannot run"):
        optimizer.add_param_group({"params": [parameter()]})
    assert len(optimizer.param_groups) == 1
