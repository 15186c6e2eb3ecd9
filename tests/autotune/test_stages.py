"""The order of a study's suggestions, played through without training anything."""

import math
from dataclasses import replace

import pytest

from autotune.pruners.ladder import ladder
from autotune.registry import names
from autotune.scheduler import full_runs, racing, stages
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.space.spaces import build
from autotune.studies.records import Point, Role, StudyRecord, TrialRecord, TrialState
from autotune.studies.spec import parse

DEFAULTS = {"lr": 1e-3, "weight_decay": 0.0}
SPACE = build({"lr": ("log", 1e-4, 1e-1)}, DEFAULTS, {})


def world(params, seed):
    """A loss that is lowest at lr = 0.01 and a little different for each seed."""
    return 1 + (params["lr"] / 0.01 - 1) ** 2 + 1e-3 * seed


class Player:
    """Plays a study: every suggestion ends at once with the loss that the world gives."""

    def __init__(self, world=world, **spec):
        spec = {"model": "m", "optimizers": ["adamw"], "sampler": "sobol", **spec}
        self.spec = parse(spec)
        self.world, self.suggestions = world, []
        presets = [SPACE.preset({}, 0.1, "preset:default"), SPACE.preset({"lr": 3e-3}, 0.1, "x")]
        study = StudyRecord(id=1, search="m", optimizer="adamw", space={})
        self.state = StudyState(
            study=study,
            space=SPACE,
            presets=presets,
            policy=Policy.of(self.spec),
            ladder=ladder(27).from_safe(),
        )

    def affordable(self, cost, needed):
        limit = self.spec.budget.resolved.runs
        return limit is None or self.state.runs() + cost + needed <= limit + 1e-9

    def step(self):
        suggestion = stages.next_suggestion(self.state, self.affordable)
        if suggestion:
            self.suggestions.append(suggestion)
            if suggestion.wider:
                self.state.space = suggestion.wider.space
            self.end(suggestion)
        return suggestion

    def end(self, suggestion):
        trial = suggestion.trial or self.add(suggestion.proposal)
        loss = self.loss(trial, suggestion.stop)
        if loss is None:
            self.state.keep(replace(trial, state=TrialState.DIVERGED, reason="nan"))
            return
        state = TrialState.COMPLETE if suggestion.stop == trial.target else TrialState.PAUSED
        kept = replace(trial, state=state, step=suggestion.stop, loss=loss)
        self.state.keep(kept, self.points(trial, suggestion.stop))

    def points(self, trial, stop):
        rungs = {step for step in self.state.ladder.steps if trial.step < step < stop} | {stop}
        return [Point(step=r, seconds=1.0, loss=self.loss(trial, r)) for r in sorted(rungs)]

    def loss(self, trial, stop):
        return self.world(trial.setting.params, trial.seed)

    def add(self, proposal):
        number = len(self.state.trials)
        fields = {name: getattr(proposal, name) for name in proposal.__dataclass_fields__}
        return TrialRecord(id=number + 1, study=1, number=number, **fields)

    def play(self):
        for _ in range(500):
            if not self.step():
                return self
        raise AssertionError("the study never ended")


def test_presets_come_first_with_the_default_leading():
    player = Player(budget={"trials": 4}).play()
    origins = [trial.origin for trial in player.state.of(Role.SEARCH)]
    assert origins == ["preset:default", "x", "sobol", "sobol"]


def test_a_space_of_few_settings_is_used_up_and_then_closed():
    player = Player(budget={"trials": 20})
    player.state.space = build({}, DEFAULTS, {"lr": [1e-3, 3e-3, 1e-2]})
    player.state.presets[:] = [player.state.space.preset({}, 0.1, "preset:default")]
    player.play()
    tried = [trial.setting.hyper["lr"] for trial in player.state.of(Role.SEARCH)]
    assert sorted(tried) == [1e-3, 3e-3, 1e-2]
    assert len(player.state.of(Role.JUDGE)) == 6


def test_as_many_settings_are_tried_as_asked_for():
    assert len(Player(budget={"trials": 7}).play().state.of(Role.SEARCH)) == 7


def test_minutes_left_are_spent_on_pairs_of_judging_runs():
    """A further seed's first run is begun only where its second can be paid too."""
    player, asked = Player(budget={"minutes": 1}), []

    def affordable(cost, needed):
        asked.append((cost, needed))
        return len(player.state.of(Role.SEARCH)) < 9 or player.state.searched

    player.affordable = affordable
    player.play()
    judged = player.state.of(Role.JUDGE)
    assert [trial.source == 0 for trial in judged] == [True, False] * 6
    assert asked[-6:] == [(1.0, 1.0), (1.0, 0.0)] * 3


def told_scarce(**budget):
    player = Player(budget=budget).play()
    return stages.scarce(player.state)


def test_a_budget_that_tries_few_settings_is_told_as_scarce():
    assert told_scarce(runs=12) == (
        "only 3 settings were tried: 8 of 10.1 full runs went into selecting and judging. To try "
        "more, raise the budget or use fewer optimizers or seeds"
    )
    assert told_scarce(runs=30) is None
    assert told_scarce(trials=2) is None


def test_what_was_not_spent_on_finals_is_not_blamed_on_them():
    player = Player(budget={"runs": 12})
    player.step()
    assert stages.scarce(player.state) == (
        "only 1 setting was tried. To try more, raise the budget or use fewer optimizers or seeds"
    )


def test_every_search_trial_reaches_the_second_rung():
    player = Player(budget={"trials": 9}).play()
    assert all(trial.step >= 3 for trial in player.state.of(Role.SEARCH))


def cautious(kind=None, **spec):
    """Return a player on rungs of which the shortest is not trusted."""
    player = (kind or Player)(**spec)
    player.state.ladder = ladder(27)
    return player


def short(**spec):
    """Return the numbers of the settings that a search gave up at the shortest rung."""
    player = cautious(**spec).play()
    return {trial.number for trial in player.state.of(Role.SEARCH) if trial.step == 1}


def test_the_shortest_rung_judges_neither_the_first_settings_nor_every_fourth():
    given_up = short(budget={"runs": 30})
    assert len(given_up) > 10
    assert not {n for n in given_up if n < 3 or n % 4 == 3}


def whole(kind=None, **spec):
    """Return the numbers of the settings that were begun without a rung to stop at."""
    player = cautious(kind, budget={"trials": 33}, **spec).play()
    begun = [s for s in player.suggestions if s.proposal and s.proposal.role is Role.SEARCH]
    return [place for place, suggestion in enumerate(begun) if suggestion.stop == 27]


def test_every_sixteenth_setting_runs_to_its_end_unless_a_pruner_is_asked_for():
    assert whole() == [15, 31]
    assert whole(pruner="asha") == []


class Misled(Player):
    """Good learning rates lose at first: before the end, rungs order settings the wrong way."""

    def loss(self, trial, stop):
        away = abs(math.log(trial.setting.params["lr"] / 0.03))
        return away if stop == trial.target else 5 - away


def test_where_rungs_mislead_every_second_setting_runs_to_its_end():
    places = whole(Misled, sampler="random")
    assert places[0] == 15
    assert places[-6:] == [21, 23, 25, 27, 29, 31]
    assert whole(Misled, sampler="random", pruner="asha") == []


def test_it_is_told_once_that_rungs_mislead():
    player = cautious(Misled, budget={"trials": 33}, sampler="random").play()
    told = [(place, s.notice) for place, s in enumerate(player.suggestions) if s.notice]
    ((place, sentence),) = told
    assert player.suggestions[place].proposal.origin == "random, run whole"
    assert sentence == (
        "trial 15 is the best but was not in the best third at step 3 of 27: short runs mislead "
        "here, so every second new setting runs to its end"
    )


def test_where_rungs_are_right_nothing_is_told():
    player = cautious(budget={"trials": 33}).play()
    assert not [suggestion for suggestion in player.suggestions if suggestion.notice]


def test_a_whole_run_that_was_interrupted_goes_on_to_its_end():
    player = cautious(budget={"trials": 33})
    while len(player.state.of(Role.SEARCH)) < 16:
        player.step()
    cut = replace(player.state.trials[16], state=TrialState.PAUSED, step=4, loss=None)
    player.state.keep(cut)
    assert player.step().stop == cut.target == 27


def test_a_search_whose_rungs_mislead_finds_good_settings_all_the_same():
    plays = [
        cautious(Misled, budget={"runs": 40}, sampler="random", seed=seed).play()
        for seed in range(10)
    ]
    away = [Misled.loss(play, play.state.best(), play.state.target) for play in plays]
    assert max(away) < 1
    assert sum(one < math.log(2) for one in away) >= 8


def test_a_pruner_asked_for_by_name_judges_every_setting_but_the_first():
    given_up = short(budget={"runs": 30}, pruner="asha")
    assert {n % 4 for n in given_up} == {0, 1, 2, 3}
    assert min(given_up) >= 3


def test_finalists_were_seen_at_full_length():
    player = Player(budget={"trials": 9}, finalists=2).play()
    complete = [t for t in player.state.of(Role.SEARCH) if t.state is TrialState.COMPLETE]
    assert len(complete) >= 2


def test_finalists_and_default_are_chosen_among_on_a_seed_the_search_never_used():
    selects = Player(budget={"trials": 9}, finalists=2).play().state.of(Role.SELECT)
    assert [trial.seed for trial in selects[:3]] == [1, 1, 1]
    assert selects[0].source == 0


def test_finalists_that_are_close_run_on_one_more_seed():
    def close(params, seed):
        return world(params, 0) + 0.5 * math.sin(1e6 * params["lr"] + 3 * seed)

    player = Player(world=close, budget={"runs": 40}, finalists=2).play()
    laps = [trial.seed for trial in player.state.of(Role.SELECT)]
    assert laps[:3] == [1, 1, 1]
    assert set(laps[3:]) == {2}
    assert player.state.runs() <= 40


def test_winner_and_default_are_judged_on_further_seeds():
    player = Player(budget={"trials": 9}, seeds=3).play()
    judged = [(t.origin, t.seed) for t in player.state.of(Role.JUDGE)]
    expected = [(origin, seed) for seed in (3, 4, 5) for origin in ("default", "tuned")]
    assert judged == expected
    winner = racing.chosen(player.state)
    assert {t.source for t in player.state.of(Role.JUDGE)} == {0, winner}


def test_a_default_that_wins_is_judged_once():
    player = Player(world=lambda p, s: p["lr"], budget={"trials": 5})
    player.state.presets[:] = [SPACE.preset({"lr": 1e-4}, 0.1, "preset:default")]
    player.play()
    assert racing.chosen(player.state) == 0
    assert [t.origin for t in player.state.of(Role.JUDGE)] == ["default"] * 3


@pytest.mark.parametrize("runs", [12, 15.5, 20, 40])
def test_full_runs_are_never_overshot(runs):
    player = Player(budget={"runs": runs}).play()
    assert player.state.runs() <= runs
    assert len(player.state.of(Role.JUDGE)) == 6


def test_a_larger_budget_tries_more_settings():
    small = Player(budget={"runs": 12}).play().state.of(Role.SEARCH)
    large = Player(budget={"runs": 20}).play().state.of(Role.SEARCH)
    assert len(large) > len(small)


def test_when_everything_diverges_only_the_default_is_judged():
    player = Player(world=lambda params, seed: None, budget={"trials": 6}).play()
    assert [t.source for t in player.state.of(Role.SELECT)] == [0]
    assert racing.chosen(player.state) == 0


def test_a_space_with_one_point_is_tried_once():
    player = Player(world=lambda params, seed: 1.0, budget={"trials": 6})
    player.state.space = build({}, DEFAULTS, {"lr": 0.01})
    player.state.presets[:] = [player.state.space.preset({}, 0.1, "preset:default")]
    player.play()
    assert len(player.state.of(Role.SEARCH)) == 1
    assert {t.origin for t in player.state.of(Role.JUDGE)} == {"default"}


def test_what_was_left_between_rungs_goes_on_first():
    player = Player(budget={"trials": 6})
    for _ in range(4):
        player.step()
    cut = replace(player.state.trials[2], step=2, state=TrialState.PAUSED)
    player.state.keep(cut)
    suggestion = player.step()
    assert (suggestion.trial.id, suggestion.stop) == (2, 3)


def test_a_study_resumed_at_any_point_goes_on_as_if_never_stopped():
    whole = Player(budget={"runs": 14}).play()
    for count in range(1, len(whole.suggestions)):
        player = Player(budget={"runs": 14})
        for _ in range(count):
            player.step()
        fresh = Player(budget={"runs": 14})
        for trial in player.state.trials.values():
            fresh.state.keep(trial)
        fresh.state.losses = player.state.losses
        fresh.play()
        assert fresh.state.trials == whole.state.trials


def test_whole_runs_are_expected_to_cost_what_halving_saves_elsewhere():
    player = cautious(budget={"trials": 33})
    searched = [
        full_runs.search_runs(player.state.policy, count, player.state.ladder) for count in (47, 48)
    ]
    assert searched[1] - searched[0] > 1


def test_the_expected_cost_of_halving_covers_the_real_one_roughly():
    player = Player(budget={"trials": 27}).play()
    spent = sum(trial.step for trial in player.state.of(Role.SEARCH)) / 27
    assert full_runs.search_runs(player.state.policy, 27, player.state.ladder) == pytest.approx(
        spent, rel=0.35
    )


@pytest.mark.parametrize("pruner", names("autotune.pruners"))
def test_a_study_ends_under_every_pruner(pruner):
    player = Player(budget={"trials": 12}, pruner=pruner).play()
    assert len(player.state.of(Role.SEARCH)) == 12
    assert stages.complete(player.state)


def test_without_pruning_every_setting_runs_to_its_end_before_the_next():
    player = Player(budget={"trials": 5}, pruner="none").play()
    searched = [s for s in player.suggestions if s.trial or s.proposal.role is Role.SEARCH]
    assert [(s.trial.number if s.trial else "new", s.stop) for s in searched[:6]] == [
        *[("new", 3), (0, 9), (0, 27)],
        *[("new", 3), (1, 9), (1, 27)],
    ]
    assert full_runs.search_runs(player.state.policy, 5, player.state.ladder) == 5.0
