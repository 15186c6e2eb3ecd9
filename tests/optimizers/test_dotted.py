"""Optimizers of other packages are known by their dotted names."""

import sys
from types import ModuleType

import pytest
import torch

from autotune.optimizers import Stacked, build, create, defaults, foreign, presets, space
from autotune.optimizers.registry import check_name, importable, is_foreign, stacks

NAME = "torch.optim.RMSprop"


class Stranger(torch.optim.SGD):
    def __init__(self, params, lr=0.1, k=5, momentum=0, shape=None, *, on=False, betas=(0.9, None)):
        super().__init__(params, lr, momentum)
        self.given = {"k": k, "shape": shape, "on": on, "betas": betas}


class WithoutRate(torch.optim.SGD):
    def __init__(self, params, rate=0.1):
        super().__init__(params, rate)


class WithoutDefault(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr)


class Wrapper(torch.optim.SGD):
    def __init__(self, params, inner, lr=0.1):
        super().__init__(params, lr)


class Closing(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


@pytest.fixture(autouse=True)
def strangers(monkeypatch):
    module = ModuleType("strangers")
    vars(module).update({c.__name__: c for c in (Stranger, WithoutRate, WithoutDefault)})
    vars(module).update({"Wrapper": Wrapper, "Closing": Closing, "net": torch.nn.Linear})
    monkeypatch.setitem(sys.modules, "strangers", module)
    yield
    for cached in (foreign.find, foreign._defaults):
        cached.cache_clear()


def stepped(optimizer, params, steps=3):
    for k in range(steps):
        for p in params:
            p.grad = torch.cos(p.detach() + k)
        optimizer.step()
    return [p.detach().clone() for p in params]


def weights():
    return [
        torch.nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3)),
        torch.nn.Parameter(torch.ones(2)),
    ]


def test_the_class_itself_steps():
    mine, theirs = weights(), weights()
    made = create(NAME, mine, lr=0.02, alpha=0.9, foreach=False)
    assert type(made) is torch.optim.RMSprop
    plain = torch.optim.RMSprop(theirs, lr=0.02, alpha=0.9, foreach=False)
    for one, other in zip(stepped(made, mine), stepped(plain, theirs), strict=True):
        assert torch.equal(one, other)


def test_defaults_are_the_signatures_plain_values():
    assert defaults(NAME)["alpha"] == 0.99
    assert defaults(NAME)["foreach"] is None
    assert not {"maximize", "differentiable", "params"} & defaults(NAME).keys()
    given = defaults("strangers.Stranger")
    assert given == {
        "lr": 0.1,
        "k": 5,
        "momentum": 0.0,
        "shape": None,
        "on": False,
        "betas": (0.9, None),
    }
    assert type(given["k"]) is int
    assert type(given["momentum"]) is float


def test_an_argument_at_its_default_is_not_said():
    made = create(
        "strangers.Stranger",
        weights(),
        **defaults("strangers.Stranger"),
    )
    assert made.given == {"k": 5, "shape": None, "on": False, "betas": (0.9, None)}
    assert create("strangers.Stranger", weights(), betas=[0.5, 0.6]).given["betas"] == (0.5, 0.6)


def test_a_space_comes_of_the_defaults_and_holds_them():
    for name in ("torch.optim.Muon", "torch.optim.AdamW", NAME, "strangers.Stranger"):
        ranges, (preset,) = space(name), presets(name)
        assert ranges["lr"][1] < preset["lr"] < ranges["lr"][2]
        assert all(entry[0] == "choice" or entry[1] < entry[2] for entry in ranges.values())
    assert space("torch.optim.AdamW")["one_minus_beta1"] == ("log", pytest.approx(0.01), 0.5)
    assert "timescale" not in space("strangers.Stranger")
    assert "one_minus_beta1" not in space("strangers.Stranger")


def test_groups_of_a_model_are_those_of_our_own():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
    groups = build(NAME, model, {"weight_decay": 0.1}).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.1), (3, 0.0)]
    [group] = build("strangers.Stranger", model, {}).param_groups
    assert len(group["params"]) == 4


BAD = [
    (
        "torch.optim.RMSProp",
        ValueError,
        "unknown optimizer 'torch.optim.RMSProp': torch.optim has no class RMSProp; did you "
        "mean 'torch.optim.RMSprop'?",
    ),
    (
        "torch.optimm.Adam",
        ValueError,
        "unknown optimizer 'torch.optimm.Adam': there is no module torch.optimm",
    ),
    (
        "nosuchpackage.Adam",
        ImportError,
        "optimizer 'nosuchpackage.Adam' needs the package 'nosuchpackage', which is not "
        "installed; install it here and wherever trials run, or correct the name",
    ),
    (
        "math.pi",
        ValueError,
        "math.pi must be a subclass of torch.optim.Optimizer, got float that is none",
    ),
    (
        "strangers.net",
        ValueError,
        "strangers.net must be a subclass of torch.optim.Optimizer, got a class that is none",
    ),
    (
        "torch.optim.Optimizer",
        ValueError,
        "torch.optim.Optimizer defines no step; name a class that does",
    ),
    (
        "torch.optim.LBFGS",
        ValueError,
        "torch.optim.LBFGS.step needs closure: trials call backward once and then step(), so "
        "only optimizers that step without a closure can be searched",
    ),
    (
        "strangers.WithoutRate",
        ValueError,
        "strangers.WithoutRate takes no lr, which every search varies; name an optimizer that does",
    ),
    (
        "strangers.WithoutDefault",
        ValueError,
        "strangers.WithoutDefault has no positive number as its default lr, which tuning is "
        "compared with; search a subclass of yours that has one",
    ),
    (
        "strangers.Wrapper",
        ValueError,
        "strangers.Wrapper needs inner, which a search cannot give it; search a subclass of "
        "yours that does",
    ),
    (
        "autotune.optimizers.AdamW",
        ValueError,
        "optimizer 'autotune.optimizers.AdamW' is registered as 'adamw'; use that name",
    ),
    (
        "torch.optim.SGD-win2",
        ValueError,
        "unknown optimizer 'torch.optim.SGD-win2': '-win2' is for the rules of this package, and "
        "torch.optim.SGD brings its own step; use 'torch.optim.SGD'",
    ),
]


@pytest.mark.parametrize(("name", "kind", "sentence"), BAD, ids=[name for name, *_ in BAD])
def test_what_a_search_cannot_run_is_refused_in_a_sentence(name, kind, sentence):
    with pytest.raises(kind) as caught:
        check_name(name)
    assert str(caught.value) == sentence


def test_arguments_are_checked_by_the_signature():
    with pytest.raises(
        TypeError, match=r"^torch.optim.RMSprop takes no 'alhpa'; did you mean 'alpha'\? "
    ):
        create(NAME, weights(), alhpa=0.9)
    with pytest.raises(TypeError, match=r"^foreach must be True or False, got 'maybe'$"):
        create(NAME, weights(), foreach="maybe")
    with pytest.raises(TypeError, match=r"^alpha must be a number, got 'much'$"):
        create(NAME, weights(), alpha="much")


def test_replicas_need_a_rule_of_this_package():
    assert not stacks(NAME)
    assert stacks("adan-win2")
    with pytest.raises(
        ValueError, match=r"^replicas step together by a rule of this package alone, "
    ):
        Stacked(NAME, [torch.nn.Parameter(torch.ones(2, 3))], [{}, {}])


def test_names_tell_whose_they_are():
    assert is_foreign(NAME)
    assert not any(map(is_foreign, ("adan", "adan-win", "a..b", "torch.", ".Adam")))
    assert importable(NAME) == NAME
    assert importable("adan-win") == "autotune.optimizers.Adan"


def test_a_module_of_the_working_directory_is_found_and_one_that_fails_is_told(
    tmp_path, monkeypatch
):
    (tmp_path / "beside_here.py").write_text("import torch\nclass Mine(torch.optim.SGD): pass\n")
    (tmp_path / "broken_here.py").write_text("import nosuchpackage\n")
    monkeypatch.chdir(tmp_path)
    before = [*sys.path]
    assert defaults("beside_here.Mine")["lr"] == 0.001
    with pytest.raises(ImportError) as caught:
        check_name("broken_here.Mine")
    assert str(caught.value) == (
        "optimizer 'broken_here.Mine' cannot be had, as importing broken_here failed: "
        "ModuleNotFoundError: No module named 'nosuchpackage'"
    )
    (tmp_path / "leaving_here.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(ImportError, match=r"as importing leaving_here failed: SystemExit: 3$"):
        check_name("leaving_here.Mine")
    assert sys.path == before
    for name in ("beside_here", "broken_here"):
        sys.modules.pop(name, None)
