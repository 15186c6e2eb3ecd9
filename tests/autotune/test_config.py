"""Where settings come from: each source wins over the ones before it, and is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.config import FLAGS, RESUMABLE, Request, Resolved, flat, resolve
from autotune.errors import SpecError, UnknownName
from autotune.studies import spec as specs
from autotune.studies.spec import SearchSpec


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolved(
    environment: dict[str, str] | None = None, stored: Any = None, **request: Any
) -> Resolved:
    environment = {"XDG_CONFIG_HOME": "home"} | (environment or {})
    request = {"flags": {"model": "gpt-nano"}} | request
    return resolve(Request(**request), environment=environment, stored=stored)


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# Each source, from the lowest to the highest, says its own place in this order.
SOURCES: list[tuple[str, int]] = [
    ("default", 0),
    ("home/autotune/config.toml", 1),
    ("autotune.toml", 2),
    ("a.yaml", 3),
    ("b.json", 4),
    ("AUTOTUNE_SEED", 5),
    ("--set seed", 6),
    ("--seed", 7),
]


@pytest.mark.parametrize("upto", range(len(SOURCES)), ids=[name for name, _ in SOURCES])
def test_a_later_source_wins_and_is_named(upto: int) -> None:
    request: dict[str, Any] = {"flags": {"model": "gpt-nano"}, "files": [], "assignments": []}
    environment = {}
    for source, place in SOURCES[1 : upto + 1]:
        if source.endswith(".toml"):
            write(source, f"seed = {place}")
        elif source.startswith("AUTOTUNE"):
            environment[source] = str(place)
        elif source.startswith("--set"):
            request["assignments"].append(f"seed={place}")
        elif source.startswith("--"):
            request["flags"]["seed"] = place
        else:
            request["files"].append(write(source, json.dumps({"seed": place})))
    found = resolved(environment, **request)
    assert (found.sources["seed"], found.spec.seed) == SOURCES[upto]


def test_a_project_may_keep_its_settings_in_pyproject() -> None:
    write("pyproject.toml", "[tool.autotune.budget]\ntrials = 7\n")
    found = resolved()
    assert found.spec.budget.trials == 7
    assert found.sources["budget.trials"] == "pyproject.toml [tool.autotune]"


def test_a_pyproject_without_our_table_says_nothing() -> None:
    write("pyproject.toml", "[project]\nname = 'x'\n")
    assert resolved().sources["seed"] == "default"


def test_files_of_one_rank_are_put_together_key_by_key() -> None:
    one = write("a.yaml", "space: {lr: {low: 1e-4, high: 1e-2}}")
    two = write("b.toml", "[space.lr]\nhigh = 0.1")
    found = resolved(files=[one, two])
    assert found.spec.space == {"lr": {"low": 1e-4, "high": 0.1}}
    assert (found.sources["space.lr.low"], found.sources["space.lr.high"]) == ("a.yaml", "b.toml")


def test_a_wrong_value_names_its_file() -> None:
    file = write("spec.yaml", "seeds: 0")
    with pytest.raises(SpecError, match=r"^spec\.yaml: seeds must be at least 2, got 0$"):
        resolved(files=[file])


def test_a_space_file_holds_the_space_alone() -> None:
    found = resolved(space=write("space.yaml", "lr: {low: 1e-4, high: 1e-2}\nwarmup: 0.1"))
    assert found.spec.space["warmup"] == 0.1
    assert found.sources["space.warmup"] == "space.yaml"


def test_two_underscores_in_a_variable_are_a_dot() -> None:
    assert resolved({"AUTOTUNE_BUDGET__MINUTES": "2.5"}).spec.budget.minutes == 2.5


def test_variables_that_are_not_of_the_spec_are_left_alone() -> None:
    others = {"AUTOTUNE_STORAGE": "x.db", "AUTOTUNE_DEBUG": "1", "AUTOTUNE_ALLOWED_HOSTS": "y"}
    assert set(resolved(others).sources.values()) == {"default", "--model"}


def test_several_optimizers_are_separated_by_commas() -> None:
    found = resolved(assignments=["optimizers=adan, adamw"])
    assert found.spec.optimizers == ("adan", "adamw")


def test_numbers_may_be_written_with_an_exponent() -> None:
    found = resolved(assignments=["space.lr.low=1e-4", "space.lr.high=1e-2"])
    assert found.spec.space == {"lr": {"low": 1e-4, "high": 1e-2}}


def test_every_value_is_told_with_its_source() -> None:
    told = flat(resolved(flags={"model": "gpt-nano", "trials": 3}))
    assert told["budget.trials"] == (3, "--trials")
    assert told["seeds"] == (3, "default")


def test_every_flag_sets_a_key_that_exists() -> None:
    for key in FLAGS.values():
        fields = SearchSpec.model_fields
        *groups, last = key.split(".")
        parts = groups if groups == ["space"] else [*groups, last]  # whose names spaces know
        for part in parts:
            assert part in fields
            fields = getattr(fields[part].annotation, "model_fields", {})


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (
            {"flags": {"model": "gpt-nano", "trials": 0}},
            "--trials: budget.trials must be at least 1, got 0",
        ),
        (
            {"flags": {"model": "gpt-nano", "minutes": -1.0}},
            "--minutes: budget.minutes must be above 0, got -1",
        ),
        ({"assignments": ["seeds"]}, "--set must be dotted.key=value, got 'seeds'"),
        ({"assignments": ["a..b=1"]}, "--set must be dotted.key=value, got 'a..b=1'"),
        (
            {"assignments": ["budget.trails=1"]},
            "--set budget.trails: unknown key 'budget.trails'; did you mean 'trials'?",
        ),
        ({"flags": {}}, "model must be given"),
        (
            {"assignments": ["space.lr.low=2", "space.lr.high=1"]},
            "--set space.lr.high: space.lr: low must be below high, got low 2 and high 1",
        ),
    ],
    ids=["trials", "minutes", "no value", "no key", "typo", "no model", "inverted"],
)
def test_a_wrong_value_is_one_sentence_that_names_its_source(
    request_: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SpecError) as caught:
        resolved(**request_)
    assert str(caught.value) == problem


def test_a_wrong_key_in_a_variable_names_the_variable() -> None:
    with pytest.raises(SpecError) as caught:
        resolved({"AUTOTUNE_TRAILS": "3"})
    assert str(caught.value).startswith("AUTOTUNE_TRAILS: unknown key 'trails'")


def test_a_file_that_is_not_toml_says_where() -> None:
    write("autotune.toml", "seed = = 3")
    with pytest.raises(SpecError, match=r"^autotune\.toml: this is not TOML: .* line 1, column 8"):
        resolved()


@pytest.mark.parametrize("name", ["missing.yaml", "missing.toml"])
def test_a_missing_file_is_an_error(name: str) -> None:
    with pytest.raises(SpecError, match=name):
        resolved(files=[Path(name)])


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"model": "gpt-nno"}, "unknown model 'gpt-nno'; did you mean 'gpt-nano'? (known: "),
        ({"optimizer": ("adna",)}, "unknown optimizer 'adna'; did you mean 'adan'? (known: "),
        ({"sampler": "sobel"}, "unknown sampler 'sobel'; did you mean 'sobol'? (known: "),
        ({"engine": "inlin"}, "unknown engine 'inlin'; did you mean 'inline'? (known: "),
    ],
    ids=["model", "optimizer", "sampler", "engine"],
)
def test_unknown_names_suggest(flags: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnknownName) as caught:
        resolved(flags={"model": "gpt-nano"} | flags)
    assert str(caught.value).startswith(problem)


STORED = ("search 'x'", {"model": "gpt-nano", "name": "x", "budget": {"trials": 3}, "seed": 5})


def test_a_resumed_search_keeps_its_spec_but_may_raise_its_budget() -> None:
    write("autotune.toml", "seed = 9")
    found = resolved(stored=STORED, flags={"trials": 6})
    assert (found.spec.seed, found.sources["seed"]) == (5, "search 'x'")
    assert (found.spec.budget.trials, found.sources["budget.trials"]) == (6, "--trials")


@pytest.mark.parametrize(
    ("request_", "given"),
    [
        ({"flags": {"steps": 4}}, "--steps"),
        ({"flags": {"batch_size": 4}}, "--batch-size"),
        ({"flags": {}, "files": [Path("a.yaml")]}, "-c"),
        ({"flags": {}, "assignments": ["seed=1"]}, "--set"),
        ({"flags": {}, "space": Path("a.yaml")}, "--space"),
    ],
    ids=["steps", "batch size", "file", "assignment", "space"],
)
def test_a_resumed_search_refuses_anything_else(request_: dict[str, Any], given: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolved(stored=STORED, **request_)
    assert str(caught.value) == (
        "--resume takes the stored spec: only --trials, --runs, --minutes, --patience, --seeds, "
        "--workers, --engine, --device, --precision, --step-timeout, --per-gpu, --ray-address, "
        f"--gpus-per-trial, --record-norms, --measure-noise may change, got {given}"
    )


def test_what_a_resumed_search_may_change_is_what_its_identity_leaves_out() -> None:
    spec = specs.parse({"model": "gpt-nano"})
    compared = specs.identity(spec)
    assert not {FLAGS[name].partition(".")[0] for name in RESUMABLE} & set(compared)
