"""'auto' picks what can run, and says so when an installed package cannot."""

import re
import sys

import pytest
import torch

from autotune.kernels import backends
from autotune.optimizers import AdamW, Adan, Stacked

CACHED = (backends._import_error, backends._driver_error, backends._tell)


@pytest.fixture(autouse=True)
def _nothing_known():
    for cached in CACHED:
        cached.cache_clear()
    yield
    for cached in CACHED:
        cached.cache_clear()


def parameter():
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    return p


@pytest.fixture
def no_jit(monkeypatch):
    monkeypatch.setattr(pytest.importorskip("numba").core.config, "DISABLE_JIT", 1)
    return "NUMBA_DISABLE_JIT is set"


def unimportable(monkeypatch, error):
    """Let numba be installed, and raise an error when it is imported; return how it is told."""

    class Failing:
        def find_spec(self, name, *_):
            if name == "numba":
                raise error

    monkeypatch.setattr(backends, "installed", lambda module: True)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Failing(), *sys.meta_path])
    return f"{type(error).__name__}: {error}"


@pytest.fixture
def refusing(monkeypatch):
    """Let numba refuse a NumPy that is too new."""
    error = ImportError("Numba needs NumPy 2.4 or less. Got NumPy 9.9.")
    return unimportable(monkeypatch, error)


@pytest.fixture
def broken(monkeypatch):
    """Let numba fail by an error that is no ImportError, as with a damaged llvmlite."""
    return unimportable(monkeypatch, OSError("Could not find/load shared object file"))


@pytest.fixture(params=["no_jit", "refusing", "broken"])
def why(request):
    return request.getfixturevalue(request.param)


def test_auto_steps_by_torch_and_says_once_why(why):
    optimizer = AdamW([parameter()], lr=0.1)
    sentence = (
        f"parameters on cpu are stepped by torch, as numba cannot run ({why}); mend that, or write "
        "backend='torch'"
    )
    with pytest.warns(RuntimeWarning, match=f"^{re.escape(sentence)}$"):
        optimizer.step()
    optimizer.step()  # a second warning would be an error
    AdamW([parameter()]).step()
    assert optimizer.backend_used == "torch"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Adan([parameter()], backend="numba"),
        lambda: Stacked("adan", [torch.nn.Parameter(torch.ones(2, 3))], [{}, {}], "numba"),
    ],
    ids=["optimizer", "replicas"],
)
def test_numba_asked_for_by_name_is_refused_with_the_way_out(why, make):
    sentence = f"backend 'numba' cannot run: {why}; use backend='torch'"
    with pytest.raises(ImportError, match=f"^{re.escape(sentence)}$"):
        make()


class Somewhere:
    device = torch.device("cuda")


def test_triton_without_a_driver_leaves_the_device_to_torch(monkeypatch):
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("this machine has a driver")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.warns(RuntimeWarning, match="^parameters on cuda are stepped by torch, as triton"):
        assert backends.choose("auto", Somewhere()) == "torch"
    with pytest.raises(ImportError, match=r"^backend 'triton' cannot run: .*use backend='torch'$"):
        backends.choose("triton", Somewhere())


def test_a_backend_is_not_imported_before_it_is_needed(refusing):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "import_module", lambda name: pytest.fail(f"imported {name}"))
        AdamW([parameter()])
