"""The benchmark of searches is fair: nobody peeks, nobody overspends, and equal seeds agree."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from autotune.bench.search import ours as search_ours
from autotune.bench.search.grid import ground
from autotune.bench.search.methods import METHODS, named
from autotune.bench.search.peers import Chance, Optuna, uniform
from autotune.bench.search.play import Arena, play
from autotune.bench.search.regret import judge, split
from autotune.bench.search.repeat import Protocol, repeat
from autotune.bench.search.table import Table
from autotune.bench.search.trace import Trace
from autotune.errors import SpecError, UnknownName
from autotune.studies.records import Role, SearchState
from autotune.studies.store import Store

RUNGS = (3, 9, 27, 81)
VARIANTS = {"ours-planned", "tpe-told", "asha-told"}
SHAPE = (6, 4, 3)
RUNS = 13.0


def losses(seed=0, seeds=4):
    """Return smooth curves with noise; the highest lr diverges on the way."""
    draw = np.random.default_rng(seed)
    lr, decay, beta = np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij")
    final = 0.1 + (lr - 3.2) ** 2 + 0.3 * (decay - 1) ** 2 + 0.1 * beta
    curves = final.reshape(-1, 1) + np.array([3.0, 1.5, 0.5, 0.0])
    noisy = curves + 0.1 * draw.standard_normal((seeds, *curves.shape))
    noisy[:, lr.ravel() == 5, 2:] = np.inf
    return noisy


def table(**changes):
    axes = {
        "lr": tuple(10.0 ** np.arange(-5, 1)),
        "weight_decay": (1e-3, 1e-2, 1e-1, 1.0),
        "one_minus_beta3": (1e-3, 1e-2, 1e-1),
    }
    fields = {"name": "small", "axes": axes, "rungs": RUNGS, "losses": losses(), **changes}
    return Table(**fields)


def arena(runs=RUNS, workers=1, seed=5):
    seen, _ = split(table())
    return Arena(ground=ground(seen), runs=runs, workers=workers, seed=seed)


CHECKPOINTS = (2, 5, RUNS)


@cache
def played_alone(name):
    """Return what a method recommends with one worker."""
    return METHODS[name](arena(), CHECKPOINTS)


def played_on(losses, name):
    seen, _ = split(replace(table(), losses=losses))
    where = Arena(ground=ground(seen), runs=RUNS, workers=1, seed=5)
    return METHODS[name](where, CHECKPOINTS)


@pytest.mark.parametrize("name", METHODS)
def test_no_method_can_read_the_seeds_it_is_judged_on(name):
    others = losses()
    others[2:] = losses(seed=1)[2:]
    assert played_on(others, name) == played_alone(name)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"default"}))
def test_every_method_reads_the_seeds_it_may_see(name):
    flipped = np.where(np.isinf(losses()), np.inf, 20 - losses())
    assert played_on(flipped, name).numbers[-1] != played_alone(name).numbers[-1]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", sorted(METHODS.keys() - VARIANTS - {"default"}))
def test_no_budget_is_overshot_and_little_is_left(name, workers):
    alone = workers == 1
    played = played_alone(name) if alone else METHODS[name](arena(workers=workers), (RUNS,))
    budget = 2 * RUNS if name == "random2x" else RUNS
    spare = 4 if name == "ours" else 1  # a race that was decided early leaves what was kept for it
    assert budget - spare < played.spent <= budget + 1e-9
    assert played.spent / workers <= played.took + 1e-9
    assert played.took < budget / (1 if workers == 1 else 2) + 1e-9


def test_the_default_costs_nothing():
    played = METHODS["default"](arena(), (2, RUNS))
    assert (played.numbers, played.spent) == ((arena().ground.default,) * 2, 0.0)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """A search of our own, played once: its trace, how it ended, and its trials."""
    folder = tmp_path_factory.mktemp("replayed")
    with Store(f"{folder}/autotune.db") as store:
        trace = search_ours.replay(arena(), store, folder)
        search = store.search("bench")
        return trace, search.state, store.trials(search.studies[0].id)


def test_every_step_but_those_of_judging_is_counted(replayed):
    trace, state, trials = replayed
    assert state is SearchState.COMPLETE
    assert {trial.role for trial in trials} == {Role.SEARCH, Role.SELECT, Role.JUDGE}
    counted = [trial.step for trial in trials if trial.role is not Role.JUDGE]
    assert trace.spent == pytest.approx(sum(counted) / RUNGS[-1])


def test_an_engine_s_settings_are_all_on_the_grid(replayed):
    trace = replayed[0]
    assert trace.said
    assert all(0 <= number < np.prod(SHAPE) for _, number in trace.said)


def test_no_place_on_the_grid_is_tried_twice_whoever_proposed_it(replayed):
    where, trials = arena(), replayed[2]
    searched = [
        where.ground.number(trial.setting.hyper) for trial in trials if trial.role is Role.SEARCH
    ]
    assert len(searched) == len(set(searched)) > 20


def test_equal_seeds_give_equal_results_and_others_others():
    names = ["ours", "tpe", "asha", "random"]

    def found(seed, names):
        protocol = Protocol(reps=2, runs=RUNS, workers=4, seed=seed)
        ((record,), complete) = repeat([table()], named(names), protocol)
        assert complete
        return {name: np.array(record.regrets[name]).tolist() for name in names}

    first = found(0, names)
    assert found(0, names) == first
    others = found(1, names[1:])  # ours takes as long as the others together
    assert all(others[name] != first[name] for name in others)


def test_a_search_too_small_for_the_engine_is_refused_or_read_as_none():
    with pytest.raises(SpecError, match=r"^budget\.runs must be at least 12 to choose"):
        METHODS["ours"](arena(runs=5.0), (2.0, 5.0))
    assert METHODS["ours-planned"](arena(runs=5.0), (2.0, 5.0)).numbers == (None, None)


def test_a_told_peer_begins_with_the_known_settings():
    from optuna.samplers import RandomSampler

    known = arena().ground.known
    peer = Optuna(SHAPE, RandomSampler(seed=1), known=known)
    assert len(known) > 1
    assert [peer.ask()[1] for _ in known] == list(known)
    assert peer.ask()[1] not in known


@pytest.mark.parametrize("name", ["tpe", "asha"])
def test_what_a_told_peer_sees_first_is_the_default(name):
    default = arena().ground.default
    assert METHODS[f"{name}-told"](arena(runs=1.0), (1.0,)).numbers == (default,)
    assert METHODS[name](arena(runs=1.0), (1.0,)).numbers != (default,)


def test_regret_is_0_at_the_best_and_1_at_the_median():
    finals = [[3.0, 1.0, 2.0, 5.0, 9.0], [3.0, 2.0, 2.0, 7.0, 9.0]]
    small = table(
        axes={"lr": (0.1, 0.2, 0.3, 0.4, 0.5)}, rungs=(9,), losses=np.array(finals)[..., None]
    )
    judged = judge(small)
    assert [judged.regret(number) for number in range(5)] == pytest.approx(
        [1.0, 0.0, (2 - 1.5) / 1.5, (6 - 1.5) / 1.5, (9 - 1.5) / 1.5]
    )


def test_a_setting_that_diverged_on_a_held_out_seed_is_as_bad_as_the_worst():
    finals = [[3.0, 1.0, np.inf], [3.0, 2.0, 1.0]]
    small = table(axes={"lr": (0.1, 0.2, 0.3)}, rungs=(9,), losses=np.array(finals)[..., None])
    judged = judge(small)
    assert judged.regret(2) == judged.regret(0) == 1.0


def test_a_search_sees_the_first_half_of_the_seeds():
    whole = table(losses=losses(seeds=5))
    seen, judged = split(whole)
    np.testing.assert_array_equal(seen.losses, whole.losses[:2])
    held = whole.losses[2:, :, -1].mean(axis=0)
    np.testing.assert_allclose(judged.truth[:8], held[:8])


def test_recommendations_are_read_by_what_was_run_not_by_the_clock():
    trace = Trace(default=9)
    trace.intervals = [(0.0, 1.0), (0.0, 2.0), (3.0, 4.0)]  # nothing runs between 2 and 3
    trace.recommend(1.0, 1)
    trace.recommend(2.0, 2)
    trace.recommend(4.0, 3)
    assert trace.at([1.0, 2.0, 2.9, 3.0, 3.5, 4.0, 50.0]) == [9, 1, 1, 2, 2, 3, 3]
    assert (trace.spent, trace.took) == (4.0, 4.0)


def test_a_method_on_a_double_budget_is_read_twice_as_late():
    trace = Trace(default=9, share=0.5)
    trace.intervals = [(float(i), i + 1.0) for i in range(4)]
    for i in range(4):
        trace.recommend(i + 1.0, i)
    assert trace.at([0.5, 1.0, 2.0]) == [0, 1, 3]


def test_whole_runs_are_begun_only_where_they_can_be_paid():
    trace = play(arena(runs=2.9), uniform(SHAPE, 1))
    assert trace.spent <= 2.9
    assert len(trace.intervals) >= 2


def test_a_diverged_run_costs_what_it_ran():
    always = Chance(stream=iter([(5, 0, 0)] * 6 + [(3, 1, 1)] * 9))
    trace = play(arena(runs=3.0), always)
    assert trace.intervals[0] == (0.0, pytest.approx(27 / 81))
    assert len(trace.intervals) == 6 + 1


def test_the_furthest_and_then_the_lowest_is_recommended():
    always = Chance(stream=iter([(0, 0, 0), (5, 1, 1), (3, 1, 0), (2, 1, 0)]))
    trace = play(arena(runs=3.5), always)
    numbers = [table().number(places) for places in [(0, 0, 0), (3, 1, 0)]]
    assert trace.at([0.01, 0.5, 1.0, 3.5]) == [arena().ground.default, *numbers[:1] * 2, numbers[1]]


def test_optuna_s_halving_stops_most_trials_early():
    from optuna.pruners import SuccessiveHalvingPruner
    from optuna.samplers import RandomSampler

    pruner = SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    halving = Optuna(SHAPE, RandomSampler(seed=1), pruner)
    trace = play(arena(), halving)
    lengths = [round(81 * (end - begin)) for begin, end in trace.intervals]
    assert set(lengths) == set(RUNGS)
    assert lengths.count(3) > len(lengths) / 3


def test_workers_overlap_in_simulated_time():
    one, four = (METHODS["random"](arena(workers=workers), (RUNS,)) for workers in (1, 4))
    assert four.spent == pytest.approx(one.spent, abs=1.0)
    assert four.took < one.took / 3


def test_an_interrupt_leaves_the_repetitions_that_all_have_played():
    plays = []

    def stopped(arena, checkpoints):
        plays.append(arena.seed)
        if len(plays) == 4:
            raise KeyboardInterrupt
        return METHODS["default"](arena, checkpoints)

    methods = {"random": METHODS["random"], "stopped": stopped}
    protocol = Protocol(reps=9, runs=3.0, workers=1, seed=0)
    ((record,), complete) = repeat([table()], methods, protocol)
    assert not complete
    assert {name: len(rows) for name, rows in record.regrets.items()} == {"random": 3, "stopped": 3}


def test_an_interrupt_before_two_repetitions_leaves_nothing():
    def stopped(arena, checkpoints):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repeat([table()], {"stopped": stopped}, Protocol(reps=9, runs=3.0, workers=1, seed=0))


def test_all_methods_meet_the_same_repetition():
    met = []

    def spy(arena, checkpoints):
        met.append(arena.seed)
        return METHODS["default"](arena, checkpoints)

    repeat([table()], {"a": spy, "b": spy}, Protocol(reps=2, runs=3.0, workers=1, seed=0))
    assert met[0] == met[1] != met[2] == met[3]


def test_recommendations_are_read_at_the_checkpoints_within_the_budget():
    assert Protocol(reps=2, runs=25, workers=1, seed=0).checkpoints == (2, 5, 10, 20, 25)
    assert Protocol(reps=2, runs=30, workers=1, seed=0).checkpoints == (2, 5, 10, 20, 30)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reps": 1}, "reps must be at least 2 to compare anything, got 1"),
        ({"runs": np.inf}, "budget must be finite and pay one full run, got inf"),
        ({"runs": 0.5}, "budget must be finite and pay one full run, got 0.5"),
    ],
)
def test_a_protocol_that_says_nothing_is_refused(changes, sentence):
    with pytest.raises(SpecError) as refused:
        Protocol(**{"reps": 2, "runs": 30.0, "workers": 1, "seed": 0, **changes})
    assert str(refused.value) == sentence


def test_an_unknown_method_suggests():
    with pytest.raises(UnknownName, match=r"^unknown method 'tep'; did you mean 'tpe'\? \(known: "):
        named(["ours", "tep"])


def test_what_diverged_is_recommended_no_longer():
    losses = np.array([[[1.0, np.inf]], [[1.0, np.inf]]]) + np.zeros((2, 2, 2))
    losses[:, 1] = [3.0, 2.0]
    axes = {"lr": (0.1, 0.2)}
    small = ground(table(axes=axes, rungs=(3, 9), losses=losses))
    where = replace(arena(runs=2.0), ground=small)
    trace = play(replace(where, workers=2), Chance(stream=iter([(0,), (1,)])))
    assert trace.at([0.7, 1.5, 2.0]) == [0, 0, 1]


@pytest.mark.parametrize("name", ["ours/random", "ours/tpe/asha", "ours/optuna:NSGAIISampler/none"])
def test_ours_plays_with_a_sampler_and_a_pruner_by_name(name):
    (method,) = named([name]).values()
    played = method(arena(), [5.0, RUNS])
    assert played.spent <= RUNS + 1e-9
    assert played == method(arena(), [5.0, RUNS])


def test_a_pruner_that_ours_does_not_know_is_refused():
    with pytest.raises(
        UnknownName, match=r"^unknown pruner 'ahsa'; did you mean 'asha'\? \(known: "
    ):
        named(["ours/tpe/ahsa"])
