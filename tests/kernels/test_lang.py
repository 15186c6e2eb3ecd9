import pickle
import subprocess
import sys

import pytest
import torch

from autotune.kernels.lang import instead, jit, plain, tl
from autotune.kernels.rules.adan import ADAN, adan
from autotune.kernels.rules.decay import fixed
from autotune.kernels.rules.lookahead import ahead_of_fixed

ROW = (1.0, 0.98, 0.02, 0.92, 0.08, 0.99, 0.01, 0.02, 0.08, 0.1, 1e-8)


@jit
def stretched(a, b):
    """Use the whole language."""
    grown = tl.log(tl.exp(tl.maximum(a, b)))
    return tl.where(a > b, tl.sqrt(tl.abs(a)), grown + 1.5)


def test_a_rule_runs_on_tensors_as_on_numbers():
    a, b = torch.tensor([4.0, -1.0]), torch.tensor([1.0, 2.0])
    together = plain(stretched)(a, b).tolist()
    assert together == [plain(stretched)(x, y) for x, y in [(4.0, 1.0), (-1.0, 2.0)]]


def test_a_maximum_takes_a_tensor_and_a_number():
    assert plain(stretched)(torch.tensor(-1.0), 2.0) == 3.5


def test_a_rule_has_as_many_scalars_as_names():
    p, g = torch.rand(2, 3, dtype=torch.float64)
    state = tuple(torch.rand(3, dtype=torch.float64) for _ in ADAN.buffers)
    u, kept = plain(adan)(p, g, state, ROW)
    assert len(ROW) == len(ADAN.scalars)
    assert len(kept) == len(ADAN.buffers)
    assert torch.isfinite(u).all()


def test_a_rule_is_differentiable():
    torch.manual_seed(0)
    g = torch.rand(3, dtype=torch.float64, requires_grad=True)
    state = tuple(torch.rand(3, dtype=torch.float64) for _ in ADAN.buffers)
    assert torch.autograd.gradcheck(lambda g: plain(adan)(g, g, state, ROW)[0], (g,))


def test_an_unbound_language_says_so():
    with pytest.raises(
        RuntimeError, match=r"^tl\.sqrt cannot be used until its rule is bound; use plain\(rule\)$"
    ):
        tl.sqrt(2.0)


def test_an_unbound_rule_says_so():
    sentence = "^<rule .*stretched> cannot be called until it is bound; use plain\\(rule\\)$"
    with pytest.raises(RuntimeError, match=sentence):
        stretched(1.0, 2.0)


def test_a_rule_must_be_a_plain_function():
    with pytest.raises(TypeError, match=r"^a rule must be a plain Python function, got <built-in"):
        jit(len)


@pytest.mark.parametrize("rule", [adan, ahead_of_fixed], ids=repr)
def test_a_rule_pickles_by_name(rule):
    assert pickle.loads(pickle.dumps(rule)) is rule


def test_another_rule_is_called_instead():
    with pytest.raises(ValueError, match=r"adan> must call the rules to replace, got descent$"):
        instead(adan, "other", descent=fixed)
    row = (0.5, 0.25, 0.0, 0.0, 1.0)  # lr, weight decay, and no look ahead
    assert plain(ahead_of_fixed)(2.0, 1.0, (0.0,), row) == (2.0 * 0.75 - 0.5, (-1.0,))


HEAVY = ("numba", "triton", "optuna", "sqlalchemy", "scipy", "torch._dynamo")
TRAINING = """
import torch
from autotune.optimizers.adan import Adan
from autotune.optimizers.eager import eager
p = torch.nn.Parameter(torch.ones(2))
optimizer = Adan([p], backend="torch")
eager(optimizer.zero_grad)()
p.grad = torch.ones(2)
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
"""


def loaded(code, *heavy):
    """Return which of the heavy modules a fresh interpreter loads by running the code."""
    code = f"{code}\nimport sys; print(*set({heavy!r}) & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return run.stdout.split()


def test_an_optimizer_loads_torch_alone_and_no_compiler_to_train():
    assert loaded(TRAINING, *HEAVY) == []


def test_names_load_nothing_heavy():
    code = "import autotune.optimizers as o; o.names()"
    assert loaded(code, "torch", "numba", "triton", "numpy") == []
