import sys
from importlib.metadata import EntryPoint

import pytest
import torch

from autotune import optimizers
from autotune.optimizers import create, defaults, forms, names, presets, registry, space
from autotune.optimizers.plugins import BrokenPlugin


def parameter():
    return torch.nn.Parameter(torch.zeros(2))


def test_public_names_can_be_had_and_are_sorted():
    assert optimizers.__all__ == sorted(optimizers.__all__, key=lambda n: (not n.isupper(), n))
    for name in optimizers.__all__:
        assert getattr(optimizers, name) is not None
    classes = {registry.resolve(name)[0].__name__ for name in names()}
    assert set(dir(optimizers)) == {*optimizers.__all__, *classes}


@pytest.mark.parametrize("name", names())
def test_the_class_of_every_name_can_be_imported(name):
    cls = registry.resolve(name)[0]
    assert getattr(optimizers, cls.__name__) is cls


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(
        AttributeError, match=r"^module 'autotune.optimizers' has no attribute 'N'$"
    ):
        optimizers.N  # noqa: B018


def test_every_optimizer_comes_in_the_forms_its_class_has():
    assert names() == sorted(names())
    averaged = {name for name in names() if name.endswith("-sf")}
    assert averaged >= {f"{name}-sf" for name in ("adam", "adamw", "adan", "sgd")}
    assert "lamb-sf" not in names()
    plain = ["adam", "adamw", "adan", "lamb", "lion", "nadamw", "nadamw-torch", "radam", "sgd"]
    assert set(names()) >= {name + form for name in plain for form in ("", "-win", "-win2")}


def test_a_form_is_the_class_accelerated():
    by_name = create("adamw-win2", [parameter()])
    by_keyword = create("adamw", [parameter()], acceleration="win2")
    assert type(by_name) is type(by_keyword)
    assert by_name.defaults == by_keyword.defaults


def test_a_form_and_its_own_keyword_agree():
    optimizer = create("sgd-win", [parameter()], acceleration="win")
    assert optimizer.param_groups[0]["acceleration"] == "win"


def test_defaults_are_the_constructors():
    assert defaults("adan") == {
        "lr": 1e-3,
        "betas": (0.98, 0.92, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decay": "proximal",
        "cautious": False,
        "cautious_decay": False,
        "max_grad_norm": 0.0,
    }


def test_defaults_of_a_form_name_its_acceleration():
    given = defaults("lamb-win2")
    assert given["acceleration"] == "win2"
    assert given["reckless_steps"] == (2.0, 8.0)
    assert given["max_grad_norm"] == 1.0


def test_only_accelerated_forms_search_reckless_steps():
    assert "gamma1" not in space("adamw")
    assert {"gamma1", "gamma_ratio"} <= set(space("adamw-win"))


@pytest.mark.parametrize("name", names())
def test_a_space_is_plain_data(name):
    for scale, *rest in space(name).values():
        if scale == "choice":
            assert rest == [("yes", "no")]
        else:
            low, high = rest
            assert scale in ("log", "linear")
            assert low < high
            assert scale == "linear" or low > 0


@pytest.mark.parametrize("name", names())
def test_half_lives_are_parts_of_a_run_and_of_a_coordinate(name):
    for coordinate, (shortest, longest) in registry.half_lives(name).items():
        assert space(name)[coordinate][0] == "log"
        assert coordinate.startswith("one_minus_")
        assert 0.0 < shortest < longest < 1.0


def test_changing_what_was_returned_changes_nothing():
    space("adan")["lr"] = ("log", 1.0, 2.0)
    presets("adan")[0]["lr"] = 7.0
    assert space("adan")["lr"] != ("log", 1.0, 2.0)
    assert presets("adan")[0]["lr"] == 5e-3


@pytest.mark.parametrize("name", names())
def test_a_description_is_one_line(name):
    line = registry.resolve(name)[0].description
    assert line
    assert "\n" not in line
    assert not line.endswith(".")


def entry(name, value):
    return EntryPoint(name=name, value=value, group="autotune.optimizers")


@pytest.fixture
def installed(monkeypatch):
    """Let the test say what is installed."""
    registry._entries.cache_clear()
    yield lambda *found: monkeypatch.setattr(registry, "entry_points", lambda group: found)
    registry._entries.cache_clear()


def test_a_plugin_comes_in_three_forms(installed):
    installed(entry("mine", "autotune.optimizers.lamb:LAMB"))
    assert names() == ["mine", "mine-win", "mine-win2"]
    assert create("mine-win", [parameter()]).param_groups[0]["acceleration"] == "win"


PLUGIN = """
from torch.optim import SGD as Base
from autotune.optimizers.adam import AdamW

class Same(AdamW):
    description = "The forms of its base"

class Fewer(AdamW):
    forms = ("win2",)

class None_(AdamW):
    forms: tuple[str, ...] = ()

class Computed(AdamW):
    forms = AdamW.forms[:1]
"""


def test_forms_are_read_from_the_source_of_a_class(installed, tmp_path, monkeypatch):
    (tmp_path / "my_forms.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    installed(*[entry(cls.lower(), f"my_forms:{cls}") for cls in ("Same", "Fewer", "None_")])
    same = [f"same{form}" for form in ("", "-grokfast", "-mars", "-nema", "-sf", "-win", "-win2")]
    listed = ["fewer", "fewer-win2", "none_", *same]
    assert names() == listed
    assert "my_forms" not in sys.modules
    create("fewer", [parameter()])
    assert names() == listed
    with pytest.raises(ValueError, match=r"^unknown optimizer 'none_-win'; did you mean 'none_'"):
        create("none_-win", [parameter()])
    with pytest.raises(ValueError, match=r"^acceleration must be 'none' or 'win2', got 'win'$"):
        create("fewer", [parameter()], acceleration="win")


def test_forms_that_are_not_written_out_are_refused(installed, tmp_path, monkeypatch):
    (tmp_path / "computed_forms.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    installed(entry("mine", "computed_forms:Computed"))
    sentence = (
        r"^forms of Computed must be written out, as \('win', 'win2'\), got AdamW.forms\[:1\]$"
    )
    with pytest.raises(ValueError, match=sentence):
        names()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "",
            r"^optimizer 'mine' cannot be loaded from my_plugin:Mine \(AttributeError: .*package$",
        ),
        (
            "raise SystemExit(3)",
            r"my_plugin:Mine \(SystemExit: 3\); mend or uninstall its package$",
        ),
        ("class Mine: pass", r"^optimizer 'mine' must be a subclass of RuleOptimizer, which my_pl"),
        (
            "from autotune.optimizers.lamb import LAMB\n"
            "class Mine(LAMB): space = {'lr': ('log', 1, 0.1)}",
            r"^space of optimizer 'mine' \(my_plugin:Mine\): lr must have 0 < low < high, got 1",
        ),
        (
            "from autotune.optimizers.lamb import LAMB\n"
            "class Mine(LAMB): space = {'one_minus_beta7': ('log', 0.1, 0.5)}",
            r"\(my_plugin:Mine\): one_minus_beta7 says nothing of an argument of Mine \(params, ",
        ),
        ("def (:", r"^optimizer 'mine' cannot be loaded from my_plugin:Mine \(SyntaxError: "),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named(installed, tmp_path, monkeypatch, text, told):
    (tmp_path / "my_plugin.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_plugin", raising=False)
    forms._declared.cache_clear()
    installed(entry("mine", "my_plugin:Mine"))
    with pytest.raises(BrokenPlugin, match=told):
        create("mine", [parameter()])
    monkeypatch.delitem(sys.modules, "my_plugin", raising=False)


def test_a_name_taken_twice(installed):
    installed(entry("mine", "a:A"), entry("mine", "b:B"))
    sentence = r"^optimizer 'mine' is registered twice, as a:A and as b:B; uninstall one$"
    with pytest.raises(ValueError, match=sentence):
        names()
