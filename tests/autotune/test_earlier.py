"""Settings that are known from elsewhere: read, checked, tried first, and told of."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from autotune import export
from autotune.api.tune import tune
from autotune.cli import main
from autotune.errors import AlreadyThere, SpecError, UnknownName
from autotune.search import earlier
from autotune.search.events import Notice
from autotune.space.presets import presets_of, spaces_of
from autotune.studies import earlier as stored
from autotune.studies.spec import differences, parse
from autotune.testing.exports import tuned_for_test

ADAN = {"lr": 0.0031, "betas": [0.97, 0.92, 0.98], "weight_decay": 0.05}
KNOWN = {"optimizer": "adan", "hyper": ADAN, "warmup": 0.2, "origin": "optuna s trial 3"}
OTHER = {"optimizer": "adan", "hyper": {"lr": 0.01}, "origin": "sweep.csv happy-sun-3"}


def spec_of(*entries, **keys):
    keys = {"model": "mlp", "optimizers": ["adan", "adamw"], **keys}
    return parse({**keys, "try_first": list(entries)})


def refused(*entries, **keys):
    spec = spec_of(*entries, **keys)
    with pytest.raises((SpecError, UnknownName)) as caught:
        earlier.check(spec, spaces_of(spec))
    return str(caught.value)


def line(seed):
    import torch

    x = torch.linspace(-1, 1, 64).reshape(8, 8, 1)
    torch.manual_seed(seed)
    from autotune import Problem

    return Problem(
        model=torch.nn.Linear(1, 1),
        train=list(x[:6]),
        validation=list(x[6:]),
        loss=lambda model, x: (model(x) - 3 * x).square().mean(),
    )


def searched(folder, trials, name="whole", **keys):
    return tune(
        line,
        optimizers=["adan", "adamw"],
        trials=trials,
        steps=9,
        seeds=2,
        finalists=1,
        storage=f"{folder}/found.db",
        name=name,
        **{"progress": "off", **keys},
    )


def tried(result, optimizer):
    rows = result.trials()
    return rows[(rows.role == "search") & (rows.optimizer == optimizer)].sort_values("number")


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def whole(tmp_path_factory, told):
    folder = tmp_path_factory.mktemp("earlier")
    return searched(folder, 4, listen=told.append, progress=None, try_first=[KNOWN, OTHER])


def test_they_follow_the_default_and_are_marked(whole):
    found = tried(whole, "adan")
    assert [*found.origin[:3]] == [
        "preset:authors",
        "imported: optuna s trial 3",
        "imported: sweep.csv happy-sun-3",
    ]
    assert [*found.lr[1:3]] == [0.0031, 0.01]
    assert len(found) == len(tried(whole, "adamw")) == 4  # they count as tried


def test_unequal_knowledge_is_said_where_optimizers_are_compared(whole, told):
    sentence = (
        "settings known from elsewhere were tried first: adan 2, adamw none; the budgets are "
        "equal, what was known before is not, so optimizers may differ for that alone"
    )
    assert sentence in [event.text for event in told if isinstance(event, Notice)]
    assert sentence in whole.verdict.splitlines()
    assert sentence in whole.best.record.warnings
    equal = [KNOWN, {**KNOWN, "optimizer": "adamw"}]
    assert stored.unequal({"optimizers": ["adan", "adamw"], "try_first": equal}) == ""


def test_a_search_goes_on_with_them_and_not_without(whole, tmp_path):
    searched(tmp_path, 3, "parts", try_first=[KNOWN, OTHER])
    again = searched(tmp_path, 4, "parts", try_first=[KNOWN, OTHER])
    for optimizer in ("adan", "adamw"):
        one, other = tried(whole, optimizer), tried(again, optimizer)
        assert [*one.origin] == [*other.origin]
        assert [*one.lr] == [*other.lr]
    with pytest.raises(AlreadyThere, match=r"^search 'parts' is already in .* another try_first;"):
        searched(tmp_path, 4, "parts")


def test_the_best_of_one_search_begin_another(whole, tmp_path):
    file = tmp_path / "top.json"
    best = whole.top(2, "adan")
    file.write_text(export.render_best(best, "json"), encoding="utf-8")
    entries = stored.read(file)
    assert [one["hyper"]["lr"] for one in entries] == [one.record.hyper["lr"] for one in best]
    assert entries[0]["origin"].startswith("search whole, ")
    spec = spec_of(*entries)
    earlier.check(spec, spaces_of(spec))


def test_a_spec_that_was_stored_before_them_is_the_same():
    old = spec_of().model_dump(mode="json")
    del old["try_first"]
    assert differences(parse(old), spec_of()) == []


def test_what_is_tried_anyway_is_tried_once():
    spec = spec_of(KNOWN, {**KNOWN, "origin": "the same"})
    space = spaces_of(spec)["adan"]
    default = presets_of("adan", space)[0].setting
    hyper = {k: list(v) if isinstance(v, tuple) else v for k, v in default.hyper.items()}
    same = {**KNOWN, "hyper": hyper, "warmup": default.warmup}
    spec = spec_of(same, KNOWN, {**KNOWN, "origin": "the same"})
    found = earlier.candidates(spec, "adan", space)
    assert [one.origin for one in found] == ["imported: optuna s trial 3"]
    assert found[0].setting.hyper["betas"] == (0.97, 0.92, 0.98)
    assert earlier.candidates(spec, "adamw", space) == ()


@pytest.mark.parametrize(
    ("entry", "keys", "sentence"),
    [
        (
            {**KNOWN, "optimizer": "sgd"},
            {},
            "try_first: optuna s trial 3 is a setting of sgd, which is not searched; add "
            "--optimizer sgd or leave it out",
        ),
        (
            {**KNOWN, "hyper": {"lr": 0.1, "beta1": 0.9}},
            {},
            "try_first, optuna s trial 3: unknown argument 'beta1'; did you mean 'betas'? (known: "
            "betas, cautious, cautious_decay, decay, eps, lr, max_grad_norm, weight_decay)",
        ),
        (
            {**KNOWN, "hyper": {"lr": 0.1, "betas": [0.9, 1.5, 0.9]}},
            {},
            "try_first, optuna s trial 3: betas[1] must be in [0, 1), got 1.5",
        ),
        (
            {**KNOWN, "hyper": {"lr": 0.0}},
            {},
            "try_first, optuna s trial 3: lr must be positive, got 0.0",
        ),
        (
            KNOWN,
            {"space": {"lr": {"high": 1e-3}}},
            "try_first, optuna s trial 3: lr 0.0031 is outside the space that you gave; widen that "
            "or leave the setting out",
        ),
        (
            KNOWN,
            {"space": {"warmup": 0.1}},
            "try_first, optuna s trial 3: warmup 0.2 is outside the space that you gave; widen "
            "that or leave the setting out",
        ),
        (
            KNOWN,
            {"budget": {"trials": 1}},
            "try_first has 1 settings of adan, and 1 trials pay for the default and 0 more; raise "
            "trials or give fewer",
        ),
    ],
)
def test_what_cannot_be_tried_as_it_is_is_refused(entry, keys, sentence):
    assert refused(entry, **keys) == sentence


def test_a_misspelt_key_of_one_suggests_the_right_one():
    with pytest.raises(
        SpecError, match=r"^unknown key 'try_first\.0\.orign'; did you mean 'origin'"
    ):
        spec_of({**KNOWN, "orign": "x"})
    with pytest.raises(SpecError, match=r"^try_first\.0\.hyper must be given$"):
        spec_of({"optimizer": "adan"})
    with pytest.raises(SpecError, match=r"^try_first must be a list, got 'known\.json'$"):
        parse({"model": "mlp", "try_first": "known.json"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(SpecError, match=r"^try_first: lr must be finite, got (nan|inf)$"):
        spec_of({**KNOWN, "hyper": {"lr": value}})


def test_a_setting_of_muon_is_tried_though_it_steps_hidden_matrices_only():
    entry = {"optimizer": "muon", "hyper": {"lr": 0.02, "aux_lr": 0.001}}
    spec = spec_of(entry, optimizers=["muon"])
    earlier.check(spec, spaces_of(spec))


def test_one_beyond_the_optimizer_s_own_range_is_tried_and_told():
    spec = spec_of({**KNOWN, "hyper": {"lr": 7.0}}, optimizers=["adan"])
    assert [*earlier.notices(spec, spaces_of(spec))] == [
        "adan: optuna s trial 3 is tried as it is, beyond what is searched in lr"
    ]


def test_a_file_of_one_record_is_read_too(tmp_path):
    file = tmp_path / "one.json"
    file.write_text(export.render(tuned_for_test(), "json"), encoding="utf-8")
    (entry,) = stored.read(file)
    assert (entry["optimizer"], entry["warmup"]) == ("adan-win2", 0.1)
    assert entry["origin"] == "search mini, trial 17 (sobol)"
    file.write_text(json.dumps({"model": "mlp"}), encoding="utf-8")
    with pytest.raises(SpecError, match=r"one\.json holds no settings; give what autotune import"):
        stored.read(file)
    file.write_text(json.dumps({"settings": [3]}), encoding="utf-8")
    with pytest.raises(SpecError, match=r"one\.json holds something else than settings; give what"):
        stored.read(file)


def test_a_record_with_a_refined_schedule_is_refused(tmp_path):
    record = tuned_for_test()
    table = replace(record.schedule, type="table", warmup_fraction=0.0, table=(1.0, 0.0))
    file = tmp_path / "one.json"
    file.write_text(export.render(replace(record, schedule=table), "json"), encoding="utf-8")
    sentence = (
        r"^try_first: the setting of search mini has a refined schedule, and a search trains by "
        r"warm-up and cosine; export it with --schedule original$"
    )
    with pytest.raises(SpecError, match=sentence):
        stored.read(file)


@pytest.mark.parametrize(
    ("space", "hyper"),
    [
        ({"controller": "agvm"}, {"controller": "agvm", "controller_keep": 0.97}),
        ({"layer_clip": {"low": 0.1, "high": 2}}, {"layer_clip": 1.0}),
    ],
    ids=["controller", "clip"],
)
def test_a_setting_may_say_what_the_search_s_own_space_has(space, hyper):
    entry = {"optimizer": "adamw", "hyper": {"lr": 0.01, **hyper}}
    spec = spec_of(entry, optimizers=["adamw"], space=space)
    spaces = spaces_of(spec)
    earlier.check(spec, spaces)
    (found,) = earlier.candidates(spec, "adamw", spaces["adamw"])
    assert {name: found.setting.hyper[name] for name in hyper} == hyper


@pytest.mark.parametrize(
    ("controller", "hyper", "sentence"),
    [
        (
            "agvm",
            {},
            "it has no controller, and all settings of this search have 'agvm'; give --set "
            "'space.controller=[none, agvm]' instead of --controller to search both, or leave the "
            "setting out",
        ),
        (
            "none",
            {"controller": "agvm"},
            "it has controller 'agvm', and this search has none; add --controller agvm or leave "
            "the setting out",
        ),
    ],
    ids=["lacks", "has"],
)
def test_a_setting_without_the_search_s_controller_is_refused_with_the_way_out(
    controller, hyper, sentence
):
    entry = {"optimizer": "adamw", "hyper": {"lr": 0.01, **hyper}}
    said = refused(entry, optimizers=["adamw"], space={"controller": controller})
    assert said.partition(": ")[2] == sentence


def test_the_plan_lists_them_after_the_default(tmp_path):
    file = tmp_path / "known.json"
    file.write_text(json.dumps({"settings": [KNOWN]}), encoding="utf-8")
    script = tmp_path / "train.py"
    script.write_text(inspect.getsource(line), encoding="utf-8")
    words = ["search", "--model", f"{script}:line", "--steps", "9", "--optimizer", "adan"]
    words += ["--try-first", str(file)]
    done = CliRunner().invoke(main, [*words, "--dry-run"])
    assert done.exit_code == 0, done.stderr
    assert "; imported: optuna s trial 3; preset:" in done.stdout
    assert f"1 setting  {file}"[:10] in done.stdout
