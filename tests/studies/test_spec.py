"""What a spec accepts, and the sentence for what it does not."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from autotune.studies.errors import SpecError
from autotune.studies.files import read
from autotune.studies.spec import differences, identity, parse


def test_a_model_is_all_that_must_be_given():
    spec = parse({"model": "resnet50"})
    assert spec.optimizers == ("adan", "adamw-win2", "adamw")


def test_a_budget_without_a_limit_becomes_twenty_full_runs():
    assert parse({"model": "net"}).budget.resolved.runs == 20


def test_a_limit_that_was_given_is_the_only_one():
    budget = parse({"model": "net", "budget": {"minutes": 5}}).budget.resolved
    assert (budget.trials, budget.runs, budget.minutes) == (None, None, 5)


@pytest.mark.parametrize(
    "given", [torch.optim.AdamW, [torch.optim.AdamW], ("adan", torch.optim.AdamW)]
)
def test_a_class_of_an_optimizer_is_refused_by_the_name_to_write(given):
    with pytest.raises(SpecError) as refused:
        parse({"model": "net", "optimizers": given})
    assert str(refused.value) == (
        "optimizers must be names, got a class; write 'torch.optim.AdamW'"
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("resnet50", "resnet50"),
        ("train.py:build", "build"),
        ("/home/me/train.py:build", "build"),
        ("hf:microsoft/resnet-50", "resnet-50"),
    ],
)
def test_a_search_is_named_after_its_model(model, name):
    assert parse({"model": model}).search_name == name


def test_a_name_given_wins_over_the_models():
    assert parse({"model": "net", "name": "Größe 3 日本"}).search_name == "Größe 3 日本"


def test_one_optimizer_may_be_written_without_a_list():
    assert parse({"model": "net", "optimizers": "adan"}).optimizers == ("adan",)


WRONG = [
    ({"budget": {"trials": 0}}, "budget.trials must be at least 1, got 0"),
    ({"budget": {"trials": True}}, "budget.trials must be a number, got true"),
    ({"budget": {"trials": "ten"}}, "budget.trials must be a whole number, got 'ten'"),
    ({"budget": {"trials": 2.5}}, "budget.trials must be a whole number, got 2.5"),
    ({"budget": {"minutes": -1}}, "budget.minutes must be above 0, got -1"),
    ({"budget": {"runs": float("inf")}}, "budget.runs must be finite, got inf"),
    ({"budget": {"runs": "1e-4x"}}, "budget.runs must be a number, got '1e-4x'"),
    ({"budget": {"trails": 3}}, "unknown key 'budget.trails'; did you mean 'trials'?"),
    ({"budget": 3}, "budget must be a mapping, got 3"),
    ({"seeds": 1}, "seeds must be at least 2, got 1"),
    ({"seed": -1}, "seed must be at least 0, got -1"),
    ({"workers": 0, "steps": 0, "seeds": 0}, "seeds must be at least 2, got 0 (and 2 more)"),
    ({"model": 3}, "model must be text, got 3"),
    ({"model": ""}, "model must not be empty, got ''"),
    ({"optimizers": []}, "optimizers must not be empty, got []"),
    (
        {"optimizers": ["adan", "adan"]},
        "optimizers must name each optimizer once, got 'adan' twice",
    ),
    ({"optimizers": 3}, "optimizers must be a list, got 3"),
    ({"optimiser": ["adan"]}, "unknown key 'optimiser'; did you mean 'optimizers'?"),
    (
        {"zzz": 1},
        "unknown key 'zzz' (known: model, data, optimizers, name, budget, seeds, finalists, seed, "
        "and 19 more)",
    ),
    ({"name": " "}, "name must not be empty, got ' '"),
    ({"name": "a/b"}, "name must not contain '/' (as in search/optimizer), got 'a/b'"),
    ({"name": "-x"}, "name must not begin with '-' (as an option does), got '-x'"),
    ({"name": "--json"}, "name must not begin with '-' (as an option does), got '--json'"),
    ({"name": "a\nb"}, "name must be printable text without spaces around it, got 'a\\nb'"),
    (
        {"name": "\udcff"},
        "name must be printable text without spaces around it, got '\\udcff'",
    ),
    ({"name": "x" * 201}, "name must be at most 200 characters, got 201"),
    ({"model": "nets/"}, "name must not be empty, got ''"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_wrong_value_is_one_sentence(change, sentence):
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        parse({"model": "net", **change})


def test_a_model_is_asked_for():
    with pytest.raises(SpecError, match=r"^model must be given$"):
        parse({})


def test_a_misspelt_key_is_named_before_the_one_it_leaves_missing():
    with pytest.raises(
        SpecError, match=r"^unknown key 'modle'; did you mean 'model'\? \(and 1 more\)$"
    ):
        parse({"modle": "net"})


SPACES = [
    (
        {"lr": {"low": 0.1, "high": 0.001}},
        "space.lr: low must be below high, got low 0.1 and high 0.001",
    ),
    (
        {"lr": {"low": 0.1, "high": 0.1}},
        "space.lr: low must be below high, got low 0.1 and high 0.1",
    ),
    ({"lr": {"low": 1e-4, "hgih": 1}}, "unknown key 'space.lr.hgih'; did you mean 'high'?"),
    ({"lr": {"x": 1}}, "unknown key 'space.lr.x' (known: low, high, scale)"),
    ({"lr": {}}, "space.lr must have low, high or scale, got none of them"),
    ({"lr": {"high": 0}}, "space.lr.high must be positive, got 0"),
    ({"lr": {"high": True}}, "space.lr.high must be a number, got True"),
    ({"lr": {"scale": "cubic"}}, "space.lr.scale must be log or linear, got 'cubic'"),
    (
        {"weight_decay": False},
        "space.weight_decay must be a number, a list of choices or a range with low and high, "
        "got False",
    ),
    ({"lr": {"low": 0, "high": 1}}, "space.lr.low must be positive, got 0"),
    ({"lr": {"low": "x", "high": 1}}, "space.lr.low must be a number, got 'x'"),
    ({"lr": -1}, "space.lr must be positive, got -1"),
    ({"weight_decay": [0.1, -1]}, "space.weight_decay must be at least 0, got -1"),
    ({"lr": float("nan")}, "space.lr must be finite, got nan"),
    (
        {"lr": "1e-4x"},
        "space.lr must be a number, a list of choices or a range with low and high, got '1e-4x'",
    ),
    (
        {"lr": None},
        "space.lr must be a number, a list of choices or a range with low and high, got None",
    ),
    ({"lr": []}, "space.lr must have at least one choice, got []"),
    ({"lr": [1, 2, 1]}, "space.lr must list each choice once, got 1 twice"),
    ({"one_minus_beta1": 1.5}, "space.one_minus_beta1 must be at most 1, got 1.5"),
    ({"warmup": 1}, "space.warmup must be a fraction in [0, 1), got 1"),
    ({"adan": 3}, "space.adan must be a mapping of parameters, got 3"),
    ({"adan": {"lr": -1}}, "space.adan.lr must be positive, got -1"),
    (
        {"adamv": {"lr": {"low": 1, "high": 2}}},
        "space.adamv: 'adamv' is not an optimizer of this search; did you mean 'adamw'? "
        "(known: adamw, adan)",
    ),
    ([1], "space must be a mapping, got [1]"),
    ({3: 1}, "space.3 must be text, got 3"),
]


@pytest.mark.parametrize(("space", "sentence"), SPACES, ids=[sentence for _, sentence in SPACES])
def test_a_wrong_space_is_one_sentence(space, sentence):
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        parse({"model": "net", "optimizers": ["adan", "adamw"], "space": space})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"lr": {"low": "1e-4", "high": 1}}, {"lr": {"low": 1e-4, "high": 1.0}}),
        ({"lr": "1e-3"}, {"lr": 1e-3}),
        ({"lr": {"high": "1e-2"}}, {"lr": {"high": 0.01}}),
        ({"lr": {"low": 1, "scale": "linear"}}, {"lr": {"low": 1.0, "scale": "linear"}}),
        ({"lr": np.logspace(-1, 1, 3)}, {"lr": [0.1, 1.0, 10.0]}),
        ({"lr": torch.tensor(0.5)}, {"lr": 0.5}),
        ({"lr": {"low": np.float32(0.5)}}, {"lr": {"low": 0.5}}),
        ({"amsgrad": [np.True_, np.False_]}, {"amsgrad": [True, False]}),
        ({"adan": {"gamma1": 2}}, {"adan": {"gamma1": 2}}),
        ({"rho": {"low": -1, "high": 1}}, {"rho": {"low": -1.0, "high": 1.0}}),
    ],
)
def test_a_space_becomes_plain_numbers_and_words(given, kept):
    found = parse({"model": "net", "space": given}).space
    assert found == kept
    json.dumps(found)


@pytest.mark.parametrize(
    ("text", "kept"), [("no", False), ("on", True), ("'off'", "off"), ("[no, yes]", [False, True])]
)
def test_a_yes_or_no_of_yaml_stays_one(tmp_path, text, kept):
    path = tmp_path / "spec.yaml"
    path.write_text(f"model: net\nspace: {{amsgrad: {text}}}\n")
    assert parse(read(path)).space["amsgrad"] == kept


def test_yaml_reads_numbers_without_a_point(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("model: net\nbudget: {runs: 1e1}\nspace: {lr: {low: 1e-4, high: 1e-2}}\n")
    spec = parse(read(path))
    assert (spec.budget.runs, spec.space["lr"]) == (10.0, {"low": 1e-4, "high": 1e-2})


def test_a_spec_survives_json(tmp_path):
    spec = parse({"model": "net", "space": {"adan": {"lr": [0.1, 0.2]}}, "budget": {"trials": 3}})
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec.model_dump(mode="json")))
    assert parse(read(path)) == spec


FILES = [
    ("a: [1", "line 1 is not YAML: expected ',' or ']', but got '<stream end>'"),
    ("- 1", "a spec must be a mapping such as 'model: resnet50', got [1]"),
    ("", "a spec must be a mapping such as 'model: resnet50', got None"),
    ("model: a\nmodel: b", "line 2 is not YAML: 'model' is given twice"),
    (
        "model: \x07",
        "cannot be read (unacceptable character #x0007: special characters are not allowed in "
        '"<unicode string>", position 7)',
    ),
    ("!!python/object:os.system x", None),
]


@pytest.mark.parametrize(("text", "sentence"), FILES, ids=[text for text, _ in FILES])
def test_a_file_that_is_no_spec_is_named(tmp_path, text, sentence):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    expected = f"^{re.escape(f'{path}: {sentence}')}$" if sentence else "is not YAML: could not"
    with pytest.raises(SpecError, match=expected):
        read(path)


def test_broken_json_names_the_line(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text('{"model":\n}')
    with pytest.raises(
        SpecError, match=f"^{re.escape(f'{path}: line 2 is not JSON: Expecting value')}$"
    ):
        read(path)


def test_json_may_not_give_a_key_twice(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text('{"model": "a", "model": "b"}')
    expected = f"{path}: cannot be read ('model' is given twice)"
    with pytest.raises(SpecError, match=f"^{re.escape(expected)}$"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "none.yaml"
    with pytest.raises(SpecError, match=f"^{re.escape(f'no spec file at {path}')}$"):
        read(path)


def test_a_folder_is_not_a_spec(tmp_path):
    expected = f"{tmp_path}: cannot be read (Is a directory)"
    with pytest.raises(SpecError, match=f"^{re.escape(expected)}$"):
        read(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match=f"^{re.escape(f'{path}: a spec must be UTF-8 text')}$"):
        read(path)


def test_a_search_goes_on_with_another_budget_and_other_workers():
    before = parse({"model": "net", "budget": {"trials": 3}})
    after = parse({"model": "net", "budget": {"runs": 3}, "workers": 7, "engine": "inline"})
    assert differences(before, after) == []


def test_what_is_compared_may_not_change():
    before = parse({"model": "net", "space": {"adan": {"lr": 1}}})
    after = parse({"model": "net", "space": {"adan": {"lr": 2}}, "steps": 9, "data": "x"})
    assert differences(before, after) == ["data", "space.adan.lr", "steps"]


def test_the_order_of_optimizers_is_no_difference():
    one, other = (
        parse({"model": "net", "optimizers": names}) for names in (["sgd", "adan"], ["adan", "sgd"])
    )
    assert identity(one) == identity(other)
