"""Every registered sampler keeps the promises of the seam."""

import math
import re
from importlib.util import find_spec

import pytest

from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.registry import load, names
from autotune.samplers import auto, sobol
from autotune.samplers.base import Observation
from autotune.seeds import derive
from autotune.space.spaces import Choice, build
from autotune.testing.samplers import CHOICES, SPACE, SamplerContract, observed

OPTUNA = [
    "optuna:GPSampler",
    "optuna:NSGAIIISampler",
    "optuna:NSGAIISampler(population_size=4)",
    "optuna:QMCSampler(scramble=True)",
    "optuna:RandomSampler",
    "optuna:TPESampler(multivariate=False)",
]
SAMPLERS = [*names("autotune.samplers"), *OPTUNA]


class TestSamplers(SamplerContract):
    @pytest.fixture(params=SAMPLERS)
    def sampler(self, request):
        return load("autotune.samplers", request.param)


@pytest.mark.parametrize("name", ["auto", "gp", "tpe"])
def test_a_model_keeps_away_from_where_trials_diverged(name):
    sampler = load("autotune.samplers", name)
    points = [seen.params for seen in observed(24)]
    told = [Observation(params=p, loss=-p["lr"] if p["lr"] < 1e-2 else None) for p in points]
    kept = [seen for seen in told if seen.loss is not None]

    def beyond(seen):
        asked = [sampler(SPACE, seen, index=i, seed=5)["lr"] for i in range(8, 16)]
        return sum(rate > 2e-2 for rate in asked)

    assert beyond(told) < beyond(kept)


def test_sobol_points_of_one_study_cover_the_space_evenly():
    rates = [sobol.sampler(SPACE, [], index=i, seed=7)["lr"] for i in range(8)]
    eighths = {int(8 * SPACE.parameters["lr"].unit(rate)) for rate in rates}
    assert eighths == set(range(8))


@pytest.mark.parametrize("name", ["gp", "tpe"])
def test_a_model_looks_nearer_to_the_optimum_than_chance(name):
    sampler = load("autotune.samplers", name)
    proposals = [sampler(SPACE, observed(16), index=i, seed=5) for i in range(8)]
    near = sum(abs(math.log10(p["lr"]) + 2) < 0.75 for p in proposals)  # half of the range
    assert near >= 6


def test_points_of_a_sequence_of_optunas_are_different_and_in_order():
    sampler = load("autotune.samplers", "optuna:QMCSampler")
    seen = [observed(4), observed(9), observed(2)]  # fewer where fewer reached the longest rung
    rates = [sampler(SPACE, those, index=i, seed=7)["lr"] for i, those in enumerate(seen)]
    places = [SPACE.parameters["lr"].unit(rate) for rate in rates]
    assert places == pytest.approx([0.0, 0.5, 0.75])


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        (
            "cmaes",
            UnknownName,
            "unknown sampler 'cmaes'; did you mean 'optuna:CmaEsSampler'? "
            "(known: auto, gp, optuna:CLASS, random, sobol, tpe)",
        ),
        (
            "optuna:BoTorchSampler",
            MissingExtra,
            "optuna:BoTorchSampler needs optuna-integration[botorch], which is not installed; "
            "get it with: pip install optuna-integration[botorch]",
        ),
        (
            "optuna:GridSampler",
            SpecError,
            "optuna:GridSampler needs search_space; give plain values as "
            "optuna:GridSampler(search_space=...)",
        ),
        (
            "optuna:TPESampler(seed=1)",
            SpecError,
            "optuna:TPESampler(seed=1): seed is the search's own to set; leave it out",
        ),
        (
            "optuna:RandomSampler(sed=1)",
            UnknownName,
            "unknown argument of optuna:RandomSampler 'sed'; did you mean 'seed'? (known: seed)",
        ),
        (
            "optuna:TPESampler(1",
            SpecError,
            "optuna:TPESampler(1: write the name of a class, or Class(argument=value) with plain "
            "values",
        ),
        (
            "optuna:TPESampler(**{})",
            SpecError,
            "optuna:TPESampler(**{}): write the name of a class, or Class(argument=value) with "
            "plain values",
        ),
        (
            "optuna:TPESampler(n_startup_trials='many')",
            SpecError,
            "optuna:TPESampler(n_startup_trials='many') cannot be used here: '<' not supported "
            "between instances of 'int' and 'str'",
        ),
        (
            "optuna:BruteForceSampler",
            SpecError,
            "optuna:BruteForceSampler cannot be used here: FloatDistribution.step must be given "
            "for BruteForceSampler (otherwise, the search space will be infinite)",
        ),
    ],
)
def test_what_cannot_propose_is_refused_before_a_search(name, kind, sentence):
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        load("autotune.samplers", name).check(SPACE)


@pytest.mark.skipif(find_spec("cmaes") is not None, reason="cmaes is installed")
def test_a_sampler_whose_package_is_missing_names_it():
    sentence = (
        "optuna:CmaEsSampler needs cmaes, which is not installed; get it with: pip install cmaes"
    )
    with pytest.raises(MissingExtra, match=f"^{re.escape(sentence)}$"):
        load("autotune.samplers", "optuna:CmaEsSampler").check(SPACE)


def test_the_default_mixture_begins_with_sobol_points():
    for index in range(auto.SOBOL_POINTS):
        assert auto.sampler(SPACE, observed(8), index=index, seed=2) == sobol.sampler(
            SPACE, [], index=index, seed=2
        )


def test_the_default_mixture_stays_near_the_best_more_often_than_chance():
    proposals = [auto.sampler(SPACE, observed(16), index=i, seed=5) for i in range(8, 40)]
    near = sum(abs(math.log10(p["lr"]) + 2) < 0.75 for p in proposals)
    assert near >= 20


def test_the_default_mixture_models_the_best_of_many_trials_and_some_of_the_rest(monkeypatch):
    told = []

    def fit(points, scores, doubts, scales):
        told.append(scores)
        return lambda asked: asked[:, 0]

    monkeypatch.setattr(auto.surrogate, "fit", fit)
    many = observed(1000)
    for index in range(8, 16):
        auto.sampler(SPACE, many, index=index, seed=5)
    losses = sorted(seen.loss for seen in many)
    assert told
    for scores in told:
        assert auto.MODEL_LIMIT * 0.9 < len(scores) <= auto.MODEL_LIMIT
        assert list(scores[: auto.MODEL_LIMIT // 2]) == losses[: auto.MODEL_LIMIT // 2]
        assert scores[-1] > losses[900]


def test_the_model_avoids_what_was_tried_where_settings_are_few(monkeypatch):
    monkeypatch.setattr(auto, "UNIFORM", 0)
    monkeypatch.setattr(auto, "NEIGHBOURS", 0)
    few = build({}, {"lr": 1e-3}, {"lr": [float(rate) for rate in range(1, 13)]})
    tried = [Observation(params={"lr": float(rate)}, loss=float(rate)) for rate in range(1, 11)]
    asked = [auto.sampler(few, tried, index=i, seed=5)["lr"] for i in range(8, 48)]
    assert set(asked) <= {11.0, 12.0}


def test_a_space_of_choices_alone_has_no_range():
    assert CHOICES.parameters == {"lr": Choice(options=(1e-3, 1e-2))}


def test_seeds_change_with_every_part():
    assert (
        len({derive("a", 1), derive("a", 2), derive("b", 1), derive("a1"), derive("a", "1", 0)})
        == 5
    )
    assert 0 <= derive("x") < 2**31
