from dataclasses import replace

from autotune.pruners.auto import highest_rung, leaders, misleading, promotable
from autotune.pruners.ladder import Ladder, ladder
from autotune.studies.records import TrialState
from autotune.testing.trials import search_trial

RUNGS = Ladder(steps=(3, 9, 27, 81), first=9, safe=9)
EARLY = Ladder(steps=(3, 9, 27, 81), first=3, safe=9)


def trial(number, step, state=TrialState.PAUSED, loss=None):
    return search_trial(number, step=step, state=state, loss=loss)


def curves(at):
    return {100 + number: dict(curve) for number, curve in at.items()}


def test_rungs_are_thirds_of_the_full_schedule():
    assert ladder(81) == EARLY
    assert ladder(100).steps == (4, 11, 33, 100)


def test_short_schedules_have_fewer_rungs():
    assert ladder(1) == Ladder(steps=(1,), first=1, safe=1)
    assert ladder(4).steps == (1, 4)


def test_patience_compares_nothing_before_the_second_rung():
    assert ladder(81).from_safe() == RUNGS
    assert ladder(81, 20).from_safe() == ladder(81, 20)


def test_a_task_may_say_from_when_on_losses_compare():
    assert ladder(81, 40) == Ladder(steps=(40, 81), first=40)
    assert ladder(81, 20) == Ladder(steps=(20, 27, 81), first=20)
    assert ladder(81, 999) == Ladder(steps=(81,), first=81)


def test_the_next_rung_is_never_before_the_first_comparison():
    assert [RUNGS.above(step) for step in (0, 3, 9, 26, 80)] == [9, 9, 27, 27, 81]


def test_more_go_on_from_the_shortest_rung_than_from_later_ones():
    trials = [trial(n, 3) for n in range(5)]
    losses = curves({n: {3: float(n)} for n in range(5)})
    assert promotable(trials, losses, EARLY) == (trials[0], 9)
    trials[0] = trial(0, 9)
    assert promotable(trials, losses, EARLY) == (trials[1], 9)
    assert [EARLY.promoted(step, 15) for step in (3, 9, 27)] == [6, 5, 5]


def test_a_task_that_says_from_when_on_losses_compare_promotes_a_third_from_there():
    assert ladder(81, 20).promoted(20, 15) == 5


def late(rank, count=12):
    """Trials that all wait at a rung, but the one of a rank there, which ended best."""
    trials = [trial(n, 27) for n in range(count)]
    trials[rank] = trial(rank, 81, TrialState.COMPLETE, loss=0.1)
    trials.append(trial(count, 81, TrialState.COMPLETE, loss=0.2))
    losses = curves({n: {9: float(n), 27: float(n)} for n in range(count + 1)})
    losses[100 + count] = {9: 0.5, 27: 0.5}
    return trials, losses


def promotions(trials, losses):
    """Return the numbers that go on from a rung, in their order."""
    numbers = []
    while found := promotable(trials, losses, RUNGS):
        numbers.append(found[0].number)
        trials[found[0].number] = trial(found[0].number, 81, TrialState.COMPLETE, loss=9.0)
    return numbers


def test_whoever_is_as_good_at_a_rung_as_what_ended_best_was_there_goes_on():
    # Of 13 trials a third are 4: the one that ended second, and 0 to 2.
    assert promotions(*late(rank=1)) == [0, 2]
    assert promotions(*late(rank=6)) == [0, 1, 2, 3, 4, 5]


def test_at_most_two_thirds_go_on_however_late_the_best_came_forward():
    assert promotions(*late(rank=11)) == [0, 1, 2, 3, 4, 5, 6]


def test_rungs_mislead_where_what_ended_best_is_not_in_the_best_third():
    # Of 13 trials a third are 4, one of them the trial that ended second.
    assert misleading(*late(rank=2), RUNGS) is None
    assert misleading(*late(rank=3), RUNGS) == 9


def test_few_trials_are_no_evidence_that_rungs_mislead():
    assert misleading(*late(rank=3, count=4), RUNGS) is None
    assert misleading(*late(rank=3, count=5), RUNGS) == 9


def test_the_shortest_rung_may_mislead_since_it_is_not_trusted():
    trials, losses = late(rank=1)
    for curve in losses.values():
        curve[3] = -curve[27]
    assert misleading(trials, losses, EARLY) is None


def test_a_whole_run_is_compared_at_no_rung():
    assert RUNGS.whole().first == 81
    assert RUNGS.whole().above(0) == 81


def test_two_trials_are_too_few_to_promote_one():
    trials = [trial(0, 9), trial(1, 9)]
    assert promotable(trials, curves({0: {9: 1.0}, 1: {9: 2.0}}), RUNGS) is None


def test_the_best_of_three_is_promoted_one_rung():
    trials = [trial(0, 9), trial(1, 9), trial(2, 9)]
    losses = curves({0: {9: 3.0}, 1: {9: 1.0}, 2: {9: 2.0}})
    assert promotable(trials, losses, RUNGS) == (trials[1], 27)


def test_who_was_promoted_already_uses_up_the_place():
    trials = [trial(0, 9), trial(1, 27), trial(2, 9)]
    losses = curves({0: {9: 3.0}, 1: {9: 1.0, 27: 0.9}, 2: {9: 2.0}})
    assert promotable(trials, losses, RUNGS) is None


def test_a_diverged_trial_counts_as_the_worst_of_every_rung():
    trials = [trial(0, 9), trial(1, 2, TrialState.DIVERGED), trial(2, 9)]
    losses = curves({0: {9: 3.0}, 1: {}, 2: {9: 2.0}})
    assert promotable(trials, losses, RUNGS) == (trials[2], 27)


def test_a_failed_trial_counts_for_nothing():
    trials = [trial(0, 9), trial(1, 2, TrialState.FAILED), trial(2, 9)]
    losses = curves({0: {9: 3.0}, 1: {}, 2: {9: 2.0}})
    assert promotable(trials, losses, RUNGS) is None


def test_higher_rungs_are_served_first():
    low = [trial(n, 9) for n in range(3)]
    high = [trial(n, 27) for n in range(3, 6)]
    losses = curves({n: {9: 5.0 - n} for n in range(3)} | {n: {9: 1.0, 27: n} for n in (3, 4, 5)})
    assert promotable(low + high, losses, RUNGS) == (high[0], 81)


def test_leaders_went_furthest_then_lost_least():
    trials = [trial(0, 9), trial(1, 27), trial(2, 27), trial(3, 81, TrialState.DIVERGED)]
    losses = curves({0: {9: 0.1}, 1: {27: 2.0}, 2: {27: 1.0}, 3: {27: 0.5}})
    assert [t.number for t in leaders(trials, losses, RUNGS, 2)] == [2, 1]


def test_a_running_trial_leads_nothing_yet():
    trials = [replace(trial(0, 27), state=TrialState.RUNNING)]
    assert leaders(trials, curves({0: {27: 1.0}}), RUNGS, 2) == []


def test_models_look_at_the_longest_rung_that_enough_trials_reached():
    losses = curves({0: {9: 1, 27: 1}, 1: {9: 1, 27: 1}, 2: {9: 1}})
    assert highest_rung(losses, RUNGS, 2) == 27
    assert highest_rung(losses, RUNGS, 3) == 9
    assert highest_rung(losses, RUNGS, 9) == 9
