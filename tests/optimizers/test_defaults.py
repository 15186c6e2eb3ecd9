"""What torch has as default device, dtype or mode changes nothing in a step."""

import ast
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from torch.nn import Parameter
from torch.utils import _device

from autotune.optimizers import Stacked, create
from autotune.optimizers.stacked import alike
from autotune.testing.backends import BACKENDS, usable

ROOT = Path(__file__).parents[2]
MAKERS = {fn.__name__ for fn in _device._device_constructors()}
HALVED = {"state_dtype": torch.bfloat16, "stochastic_rounding": True, "max_grad_norm": 0.5}


@contextmanager
def default_device(kind):
    before = torch.get_default_device()
    torch.set_default_device(kind)
    try:
        yield
    finally:
        torch.set_default_device(None if before.type == "cpu" else before)


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SURROUNDINGS = {
    "default device": lambda: default_device("meta"),
    "device context": lambda: torch.device("meta"),
    "double": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield request.param


def ends(name, backend, around, **hyper):
    values = torch.linspace(-1.0, 2.0, 27, dtype=torch.float64)
    params = [Parameter(values[:20].float().view(4, 5)), Parameter(values[20:].clone())]
    optimizer = create(name, params, lr=0.1, backend=backend, **hyper)
    for k in range(3):
        for p in params:
            p.grad = torch.full(p.shape, k - 0.5, dtype=p.dtype)
        with around():
            optimizer.step()
    with around():
        saved = optimizer.state_dict()
    other = create(name, params, backend=backend, **hyper)
    with around():
        other.load_state_dict(saved)
        other.step()
    return [p.detach() for p in params]


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("name", ["lamb", "adan-win2"])
def test_a_step_is_the_same_in_any_surroundings(backend, name, surroundings):
    expected = ends(name, backend, nullcontext, max_grad_norm=0.5)
    found = ends(name, backend, SURROUNDINGS[surroundings], max_grad_norm=0.5)
    assert all(map(torch.equal, found, expected))


def dithered(backend, around):
    p = Parameter(torch.linspace(-1.0, 1.0, 12).bfloat16())
    optimizer = create("adamw-win", [p], lr=0.1, backend=backend, compact=True, **HALVED)
    for k in range(3):
        p.grad = torch.full((12,), k - 0.5, dtype=torch.bfloat16)
        with around():
            optimizer.step()
    return p.detach()


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_rounding_at_random_is_the_same_in_any_surroundings(backend, surroundings):
    around = SURROUNDINGS[surroundings]
    assert torch.equal(dithered(backend, around), dithered(backend, nullcontext))


def test_replicas_are_made_and_stepped_beside_another_default_device(backend):
    found = []
    for around in (nullcontext, lambda: default_device("meta")):
        p = Parameter(torch.ones(2, 3))
        p.grad = torch.ones(2, 3)
        with around():
            rows = [{"lr": 0.1, "max_grad_norm": 1.0}, {"lr": 0.2, "max_grad_norm": 0.0}]
            Stacked("lamb", [p], rows, backend).step()
        found.append(p.detach())
    assert torch.equal(*found)


def test_settings_are_compared_beside_another_default_device():
    with default_device("meta"):
        assert alike("adamw", [{"backend": "torch"}, {"lr": 0.1, "backend": "torch"}]) == [[0, 1]]
        pytest.importorskip("numba")
        assert alike("adamw", [{"backend": "numba"}]) == [[0]]


def calls(path):
    """Yield each call of a function of torch that makes a tensor on the default device."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            torchs = isinstance(owner, ast.Name) and owner.id == "torch"
            if torchs and node.func.attr in MAKERS:
                yield node


@pytest.mark.parametrize("folder", ["kernels", "optimizers"])
def test_every_new_tensor_names_its_device(folder):
    paths = sorted((ROOT / folder).rglob("*.py"))
    found = [(path, call) for path in paths for call in calls(path)]
    assert found
    unnamed = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call in found
        if "device" not in {keyword.arg for keyword in call.keywords}
    ]
    assert unnamed == []
