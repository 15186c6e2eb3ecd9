"""What a study tries next."""

from dataclasses import replace

import pytest

from autotune.pruners.ladder import ladder
from autotune.scheduler.policy import Policy
from autotune.scheduler.proposals import propose
from autotune.scheduler.study_state import StudyState
from autotune.space.presets import presets_of, space_of
from autotune.space.spaces import build
from autotune.studies.records import Point, Role, StudyRecord, TrialRecord, TrialState
from autotune.studies.spec import parse


class Study:
    """A study of Adan whose trials all end at the first rung."""

    def __init__(self, best=0.01, **spec):
        self.best = best  # learning rate
        spec = parse({"model": "m", "optimizers": ["adan"], **spec})
        space = space_of(spec, "adan")
        self.state = StudyState(
            study=StudyRecord(id=1, search="m", optimizer="adan", space={}),
            space=space,
            presets=presets_of("adan", space),
            policy=Policy.of(spec),
            ladder=ladder(81),
        )

    def propose(self, count):
        found = []
        for _ in range(count):
            proposal = propose(self.state)
            found.append(proposal)
            self.keep(proposal)
        return found

    def keep(self, proposal, short=None):
        number = len(self.state.trials)
        fields = {name: getattr(proposal, name) for name in proposal.__dataclass_fields__}
        trial = TrialRecord(id=number + 1, study=1, number=number, **fields)
        loss = abs(proposal.setting.hyper["lr"] - self.best)
        points = [
            Point(step=3, seconds=0.1, loss=loss if short is None else short),
            Point(step=9, seconds=0.3, loss=loss),
        ]
        self.state.keep(replace(trial, state=TrialState.PAUSED, step=9, loss=loss), points)


def origins(earlier, best):
    study = Study(best=best)
    space = study.state.space
    hypers = [{"lr": 2e-4 * 1.1**place} for place in range(earlier)]
    study.state.earlier = [space.preset(hyper, 0.1, "imported: x") for hyper in hypers]
    return [proposal.origin for proposal in study.propose(7 + earlier)]


@pytest.mark.parametrize("best", [0.001, 0.3])
def test_settings_from_elsewhere_come_second_and_change_no_other(best):
    without, found = origins(0, best), origins(2, best)
    assert found[:3] == [without[0], "imported: x", "imported: x"]
    assert found[3:7] == without[1:5]
    assert [o.startswith("range test") for o in found[3:]] == [
        o.startswith("range test") for o in without[1:]
    ]  # also beyond the tested rates


def test_what_is_expected_is_told_of_every_setting_that_was_measured_or_diverged():
    study = Study()
    study.propose(4)
    trials = study.state.trials
    for id, state in ((2, TrialState.DIVERGED), (3, TrialState.FAILED)):
        study.state.keep(replace(trials[id], state=state))
    study.state.losses[4].pop(9)
    told = study.state.forecast()
    assert [seen.params for seen in told] == [trials[id].setting.params for id in (1, 2, 4)]
    assert [(seen.loss is None, seen.reached) for seen in told] == [
        (False, 9),
        (True, 0),
        (False, 3),
    ]
    assert told[0].reached_loss == trials[1].loss


def rates_of(proposals):
    return [p.setting.hyper["lr"] for p in proposals if p.origin == "range test"]


def test_the_default_leads_and_the_known_setting_is_tested_at_other_learning_rates():
    found = Study().propose(5)
    origins = [proposal.origin for proposal in found]
    assert origins == ["preset:authors", "preset:short-runs", *["range test"] * 3]
    assert rates_of(found) == [pytest.approx(0.02 * factor) for factor in (3, 1 / 3, 1 / 9)]
    assert {proposal.setting.hyper["betas"] for proposal in found[1:]} == {(0.8, 0.9, 0.96)}


def test_a_widened_range_is_not_tested_again():
    study = Study()
    study.propose(9)
    parameters = study.state.space.parameters
    wider = {**parameters, "lr": parameters["lr"].wider(upper=True, step=0.25, furthest=0.5)}
    study.state.space = replace(study.state.space, parameters=wider)
    assert "range test" not in {proposal.origin for proposal in study.propose(6)}


@pytest.mark.parametrize(("best", "further"), [(1e-5, [0.02 / 27, 0.02 / 81, 1e-4]), (1.0, [0.18])])
def test_the_test_goes_on_where_losses_still_fall_and_ends_with_the_range(best, further):
    rates = rates_of(Study(best=best).propose(9))
    assert rates == [pytest.approx(rate) for rate in (0.06, 0.02 / 3, 0.02 / 9, *further)]


def test_learning_rates_that_a_persons_range_holds_are_tested():
    rates = rates_of(Study(best=0.0, space={"lr": {"low": 0.01, "high": 0.03}}).propose(9))
    assert rates == [pytest.approx(0.03), pytest.approx(0.01)]


def test_no_learning_rate_is_tested_where_it_is_fixed():
    origins = [p.origin for p in Study(space={"lr": 1e-3}).propose(12)]
    assert "range test" not in origins


def test_known_settings_come_early_and_among_others():
    origins = [p.origin for p in Study().propose(40)]
    known = [i for i, origin in enumerate(origins) if origin.startswith("preset")]
    assert len(known) == 5
    assert "auto" in origins[: known[-1]]
    assert known[-1] < 30


def test_a_sampler_asked_for_by_name_gets_all_turns_after_the_known_settings():
    origins = [p.origin for p in Study(sampler="random").propose(8)]
    assert [o.partition(":")[0] for o in origins] == ["preset"] * 5 + ["random"] * 3


def test_nothing_is_tried_twice():
    study = Study(space={"lr": [1e-3, 3e-3, 1e-2], "warmup": [0.1, 0.2]} | fixed())
    tried = []
    while proposal := propose(study.state):
        tried.append((proposal.setting.hyper["lr"], proposal.setting.warmup))
        study.keep(proposal)
    assert len(tried) == len(set(tried)) == 6


def fixed():
    betas = {f"one_minus_beta{i}": 0.02 for i in (1, 2, 3)}
    return {"decayed": "no", "timescale": 1000.0, **betas}


def test_the_same_trials_give_the_same_proposal():
    first, second = Study(), Study()
    assert first.propose(14) == second.propose(14)


def test_what_runs_whole_is_the_same_setting_and_says_so():
    study = Study()
    study.propose(9)
    whole, other = propose(study.state, whole=True), propose(study.state)
    assert whole == replace(other, origin=f"{other.origin}, run whole")


def test_another_seed_proposes_something_else():
    assert Study().propose(9)[-1] != Study(seed=1).propose(9)[-1]


def test_a_space_with_one_point_has_one_proposal():
    study = Study()
    study.state.space = build({}, {"lr": 1e-3, "weight_decay": 0.0}, {})
    study.state.presets = [study.state.space.preset({}, 0.1, "preset:default")]
    study.propose(1)
    assert propose(study.state) is None
    assert study.state.of(Role.SEARCH)[0].origin == "preset:default"
