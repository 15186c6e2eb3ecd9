"""What every sampler has to do; a plugin subclasses ``SamplerContract`` in its tests."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import pytest

from autotune.samplers import sobol
from autotune.samplers.base import Observation, Sampler
from autotune.space.coordinates import Params
from autotune.space.spaces import Space, build
from autotune.testing.expect import expect, same

SPACE = build(
    {
        "lr": ("log", 1e-4, 1e-1),
        "decayed": ("choice", ("yes", "no")),
        "warmup": ("linear", 0.0, 0.5),
    },
    {"lr": 1e-3},
    {},
)
CHOICES = build({}, {"lr": 1e-3}, {"lr": [1e-3, 1e-2]})


def loss(params: Params) -> float:
    """Return a loss that is least at a learning rate of 0.01, decayed."""
    return (math.log10(float(params["lr"])) + 2) ** 2 + (params["decayed"] == "no")


def observed(count: int) -> list[Observation]:
    """Return that many settings, spread over the space, with their losses."""
    points = [sobol.sampler(SPACE, [], index=i, seed=1) for i in range(count)]
    return [Observation(params=p, loss=loss(p)) for p in points]


def diverged(count: int) -> list[Observation]:
    """Return that many settings that diverged."""
    return [Observation(params=seen.params, loss=None) for seen in observed(count)]


def check_inside(space: Space, params: Params) -> None:
    """Fail unless a proposal gives every parameter a value of its range."""
    same("the names of a proposal", set(params), set(space.parameters))
    for name, parameter in space.parameters.items():
        back = parameter.at(parameter.unit(params[name]))
        near = back == params[name] or math.isclose(float(back), float(params[name]))
        expect(near, f"{name} must be in its range, got {params[name]!r}")


class SamplerContract:
    """Tests of one sampler; a subclass gives the fixture ``sampler``."""

    def ask(self, sampler: Sampler, seen: Sequence[Observation]) -> list[Params]:
        """Return what it proposes under four seeds."""
        return [sampler(SPACE, seen, index=9, seed=seed) for seed in range(4)]

    @pytest.mark.parametrize("count", [0, 1, 12])
    def test_proposals_lie_in_the_space(self, sampler: Sampler, count: int) -> None:
        """Propose with nothing, little and more to go by."""
        check_inside(SPACE, sampler(SPACE, observed(count), index=9, seed=3))

    def test_proposals_depend_on_nothing_but_the_arguments(self, sampler: Sampler) -> None:
        """Ask twice: a search that goes on must find what it would have found."""
        first = sampler(SPACE, observed(8), index=9, seed=3)
        same("a second answer", sampler(SPACE, observed(8), index=9, seed=3), first)

    def test_what_was_observed_is_left_alone(self, sampler: Sampler) -> None:
        """Compare the observations before and after."""
        seen = observed(8)
        before = copy.deepcopy(seen)
        sampler(SPACE, seen, index=9, seed=3)
        same("what was observed", seen, before)

    def test_another_seed_proposes_something_else(self, sampler: Sampler) -> None:
        """Ask with four seeds."""
        found = {params["lr"] for params in self.ask(sampler, observed(8))}
        expect(len(found) > 1, "four seeds gave the same proposal")

    def test_diverged_trials_are_told(self, sampler: Sampler) -> None:
        """Leave diverged trials out: who heeds what was observed must propose something else.

        A sampler that ignores them goes on proposing beside the cliff.
        """
        blind, seeing = self.ask(sampler, diverged(6)), self.ask(sampler, observed(12))
        if seeing != blind:  # else it proposes whatever was observed
            told = self.ask(sampler, diverged(6) + observed(12))
            expect(told != seeing, "what diverged makes no difference to the proposals")

    def test_a_space_of_choices_alone_is_sampled(self, sampler: Sampler) -> None:
        """Propose where there is no number to vary."""
        seen = [Observation(params={"lr": 1e-3}, loss=1.0)] * 6
        params = sampler(CHOICES, seen, index=9, seed=1)
        expect(params["lr"] in {1e-3, 1e-2}, f"lr must be one of the choices, got {params['lr']}")
