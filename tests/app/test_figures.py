"""Charts are functions of values: what is drawn is read back from their traces."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import plotly.graph_objects as go
import pytest

from autotune.app import (
    anytime,
    curves,
    history,
    judged,
    look,
    neighbours,
    outcome,
    pairs,
    pareto,
    slices,
    thin,
    timeline,
)
from autotune.app.axes import Axis
from autotune.app.fidelity import Sample
from autotune.results.comparison import Contender, Row
from autotune.results.intervals import Estimate, estimate
from autotune.studies.records import AttemptRecord, Point, Role, TrialState
from autotune.studies.store import Store
from autotune.testing.longer import validated
from autotune.testing.trials import setting_of

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def named(chart, name):
    return next(trace for trace in chart.data if trace.name == name)


def contender(losses):
    return Contender(
        origin="default",
        setting=setting_of(hyper={"lr": 1e-3}),
        losses=losses,
        loss=estimate(list(losses.values())) if losses else None,
        accuracy=None,
    )


def row(optimizer, default, tuned, changed=True):
    return Row(
        optimizer=optimizer,
        default=contender(default),
        tuned=contender(tuned),
        changed=changed,
        difference=None,
        verdict="",
        against_reference=None,
        reference_verdict=None,
        runs=1.0,
        trials=1,
        diverged=0,
        failed=0,
    )


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("background", ["#ffffff", "#11151a"], ids=["light", "dark"])
@pytest.mark.parametrize("colour", [*look.PALETTE, look.NEUTRAL])
def test_a_colour_stands_out_from_both_backgrounds(colour, background):
    bright, dark = sorted((luminance(colour), luminance(background)), reverse=True)

    assert (bright + 0.05) / (dark + 0.05) >= 3


def test_an_optimizer_has_one_colour_in_any_order():
    assert look.colours(["sgd", "mine", "adan"]) == look.colours(["adan", "sgd", "mine"])


def test_no_two_optimizers_share_a_colour_while_colours_last():
    names = ["adan", "adamw", "adan-win", "x", "y", "z", "sgd", "lamb"]

    assert len(set(look.colours(names).values())) == len(names)


def test_more_optimizers_than_colours_are_all_coloured():
    names = [f"optimizer{i}" for i in range(20)]

    assert set(look.colours(names)) == set(names)


def test_cost_adds_up_in_the_order_trials_ended(trial):
    trials = [
        trial(0, loss=2.0, updated=START + timedelta(minutes=9)),
        trial(1, loss=3.0, updated=START + timedelta(minutes=1)),
        trial(2, step=45, state=TrialState.STOPPED, loss=1.0, updated=START + timedelta(minutes=5)),
    ]

    found = anytime.progress(trials)

    assert (found.costs, found.losses) == ((1.0, 2.5), (3.0, 2.0))


def test_the_staircase_ends_where_the_money_did(trial):
    found = anytime.progress([trial(0, loss=2.0), trial(1, loss=2.5)])

    assert (found.costs, found.losses) == ((1.0, 2.0), (2.0, 2.0))


def test_judging_does_not_count_as_search(trial):
    found = anytime.progress([trial(0, loss=2.0), trial(1, loss=1.0, role=Role.JUDGE)])

    assert found.losses == (2.0,)


def test_a_study_without_a_completed_trial_draws_no_line(trial):
    found = anytime.progress([trial(0, state=TrialState.DIVERGED, step=3)])

    assert anytime.figure({"adan": found}).data[0].x == ()


def test_anytime_draws_a_line_for_each_optimizer_in_its_colour(trial):
    lines = {name: anytime.progress([trial(0, loss=2.0)]) for name in ("adan", "adamw")}

    chart = anytime.figure(lines)

    drawn = {trace.name: trace.line.color for trace in chart.data}
    assert drawn == look.colours(lines)


def test_judged_losses_show_mean_interval_and_every_seed():
    chart = outcome.losses([row("adan", {2: 1.0, 3: 1.2}, {2: 0.8, 3: 0.9})])

    mean, seeds = named(chart, "adan tuned"), named(chart, "adan tuned, seeds")
    expected = estimate([0.8, 0.9])
    assert mean.x[0] == pytest.approx(0.85)
    assert mean.error_x.array[0] == pytest.approx(expected.high - expected.mean)
    assert list(seeds.x) == [0.8, 0.9]


def test_a_setting_that_tuning_left_alone_is_drawn_once():
    chart = outcome.losses([row("adan", {2: 1.0, 3: 1.2}, {2: 1.0, 3: 1.2}, changed=False)])

    assert {trace.y[0] for trace in chart.data} == {"adan default"}


def test_one_seed_has_no_error_bar():
    chart = outcome.losses([row("adan", {2: 1.0}, {2: 0.8})])

    assert named(chart, "adan tuned").error_x.array == (0.0,)


def test_a_setting_that_was_never_judged_is_left_out():
    chart = outcome.losses([row("adan", {}, {2: 0.8})])

    assert {trace.y[0] for trace in chart.data} == {"adan tuned"}


def test_differences_draw_their_interval_around_the_mean():
    gained = {"adan": Estimate(mean=-0.2, low=-0.3, high=-0.1, n=3)}

    trace = outcome.differences(gained, {"adan": "#000000"}, against="default").data[0]

    bounds = (trace.x[0], trace.error_x.array[0], trace.error_x.arrayminus[0])
    assert bounds == pytest.approx((-0.2, 0.1, 0.1))


def test_longer_runs_draw_each_setting_with_its_rules(sample_url, tmp_path):
    copy = tmp_path / "autotune.db"
    shutil.copy(sample_url.removeprefix("sqlite:///"), copy)
    with Store(f"sqlite:///{copy}") as store:
        found = validated(store, {"tuned": [0.5, 0.6], "default": [1.5]})
        losses = {"tuned 0": [0.5], "tuned 1": [0.7]}
        several = validated(store, losses, rules=[("r",), ("s",)])

    chart = outcome.longer(found)

    drawn = {trace.name: trace.x for trace in chart.data}
    assert drawn["adan tuned"] == (pytest.approx(0.55),)
    assert drawn["adan default, seeds"] == (1.5,)
    assert chart.layout.xaxis.title.text.startswith("loss after 1350 steps")
    names = {trace.name for trace in outcome.longer(several).data}
    assert {"adan tuned by r", "adan tuned by s"} <= names


def test_history_draws_losses_by_trial_and_state(trial):
    trials = [trial(0, loss=2.0), trial(1, loss=3.0, state=TrialState.STOPPED, step=30)]

    chart = history.figure(trials, "#000000")

    drawn = {t.name: (t.x, t.y) for t in chart.data}
    assert drawn["complete"] == ((0,), (2.0,))
    assert drawn["stopped"] == ((1,), (3.0,))


def test_the_best_so_far_ignores_losses_of_unfinished_trials(trial):
    trials = [trial(0, loss=2.0), trial(1, loss=0.5, state=TrialState.STOPPED), trial(2, loss=1.5)]

    best = named(history.figure(trials, "#000000"), "best so far")

    assert list(best.y) == [2.0, 1.5, 1.5]


def test_a_trial_without_a_loss_stands_below_the_others(trial):
    chart = history.figure([trial(0, state=TrialState.DIVERGED)], "#000000")

    assert (chart.data[0].y, chart.data[0].yaxis) == ((history.LOST,), "y2")


def test_of_ten_thousand_trials_the_extremes_and_an_even_choice_are_drawn(trial):
    states = (TrialState.COMPLETE, TrialState.STOPPED)
    trials = [trial(i, loss=1.0 + i % 97, state=states[i % 5 > 0]) for i in range(10_000)]
    trials[123], trials[7777] = trial(123, loss=0.1), trial(7777, loss=1e6)

    chart = history.figure(trials, "#000000")

    drawn = {t.name: dict(zip(t.x, t.y, strict=True)) for t in chart.data}
    assert sum(map(len, drawn.values())) <= thin.MOST + 4  # both ends of the line of the best
    assert (drawn["complete"][123], drawn["complete"][7777]) == (0.1, 1e6)
    tenths = [sum(x // 1000 == i for x in drawn["stopped"]) for i in range(10)]
    assert min(tenths) > 0.8 * max(tenths)
    assert len(drawn["stopped"]) == pytest.approx(4 * len(drawn["complete"]), rel=0.02)
    assert list(drawn["best so far"].values()) == [1.0, 0.1, 0.1, 0.1]
    assert len(history.figure(trials, "#000000", most=10_000).data[0].x) == 2002


def test_of_many_ends_the_first_and_the_last_are_counted(trial):
    trials = [trial(i, created=START, updated=START + timedelta(minutes=i)) for i in range(999)]

    (line,) = history.activity(trials).data

    assert len(line.x) == history.STEPS
    assert (line.x[0], line.y[0], line.x[-1], line.y[-1]) == (0.0, 1, 998.0, 999)
    assert all(y == x + 1 for x, y in zip(line.x, line.y, strict=True))


def test_a_loss_below_zero_keeps_the_axis_linear(trial):
    chart = history.figure([trial(0, loss=-1.0)], "#000000", log=True)

    assert chart.layout.yaxis.type is None


def test_a_logarithmic_history_keeps_its_strip_of_lost_trials(trial):
    lost = trial(1, state=TrialState.FAILED)

    chart = history.figure([trial(0, loss=1.0), lost], "#000000", log=True)

    assert (chart.layout.yaxis.type, chart.layout.yaxis2.type) == ("log", None)


def test_an_origin_with_markup_is_escaped_on_hover(trial):
    chart = history.figure([trial(0, loss=1.0, origin="<b>x")], "#000000")

    assert chart.data[0].customdata == ([0, "step 90 of 90, &lt;b&gt;x"],)


def test_activity_counts_minutes_from_the_first_trial(trial):
    trials = [
        trial(i, created=START, updated=START + timedelta(minutes=2 * i + 2)) for i in range(2)
    ]

    chart = history.activity(trials)

    assert (chart.data[0].x, chart.data[0].y) == ((2.0, 4.0), (1, 2))


def test_smoothing_starts_at_the_first_value():
    assert curves.ema([4.0, 0.0], 0.5) == pytest.approx([4.0, 4 / 3])


def test_no_smoothing_changes_nothing():
    assert curves.ema([4.0, 1.0, 2.0], 0.0) == [4.0, 1.0, 2.0]


@pytest.mark.parametrize("count", [300, 301, 302, 10_000])
def test_a_thinned_curve_keeps_its_ends_and_extremes(count):
    values = [float(i % 97) for i in range(count)]
    values[count // 2] = 1e6

    steps, kept = curves.decimate(list(range(count)), values)

    assert len(steps) <= curves.POINTS
    assert (steps[0], steps[-1], max(kept)) == (0, count - 1, 1e6)


def test_curves_of_unmeasured_metrics_are_left_out(trial):
    points = (Point(step=10, seconds=1.0, train_loss=2.0),)

    assert curves.pick([trial(0)], {100: points}, "loss") == []


@pytest.mark.parametrize(("trained", "first"), [(9, "train_loss"), (0, "loss")])
def test_the_metric_that_shows_most_is_first(trained, first):
    points = [Point(step=1 + i, seconds=1.0, train_loss=2.0) for i in range(trained)]
    points += [Point(step=10 * i, seconds=1.0, loss=2.0) for i in (1, 2)]

    assert curves.metrics({1: tuple(points)})[0] == first


def test_the_best_curve_comes_last(trial, curve):
    trials = [trial(0, loss=1.0), trial(1, loss=2.0)]
    lines = curves.pick(trials, {100: curve(3, 2, 1), 101: curve(4, 3, 2)})

    assert [line.trial.number for line in lines] == [1, 0]


def test_a_completed_trial_outranks_a_stopped_one_with_a_lower_loss(trial, curve):
    trials = [trial(0, loss=2.0), trial(1, loss=1.0, state=TrialState.STOPPED)]
    lines = curves.pick(trials, {100: curve(2), 101: curve(1)}, limit=1)

    assert lines[0].trial.number == 0


@pytest.mark.parametrize("smooth", [0.0, 0.9])
def test_curves_of_a_state_are_one_trace_with_gaps_between_trials(trial, curve, smooth):
    states = list(TrialState)
    trials = [trial(i, loss=1.0 + i, state=states[i % 7]) for i in range(400)]
    lines = curves.pick(trials, {100 + i: curve(3, 2, 1) for i in range(400)})

    chart = curves.figure(lines, "#000000", metric="loss", smooth=smooth)

    assert len(chart.data) <= 2 * len(TrialState) + 1
    drawn = [t for t in chart.data if t.hoverinfo != "skip"]
    assert sum(y is None for t in drawn for y in t.y) == len(lines) - len(drawn)
    assert {n for t in drawn for n in t.customdata} == {line.trial.number for line in lines}


def test_curves_of_a_single_point_are_marked(trial, curve):
    stopped = {"state": TrialState.STOPPED}
    lines = curves.pick(
        [trial(0, **stopped), trial(1, **stopped)], {100: curve(3, 2), 101: curve(4)}
    )

    chart = curves.figure(lines, "#000000", metric="loss")

    assert {t.mode: (t.x, t.y, t.showlegend) for t in chart.data} == {
        "lines": ((30, 60), (3.0, 2.0), True),
        "markers": ((30,), (4.0,), False),
    }


def test_the_raw_curve_stays_beneath_the_smoothed_one(trial, curve):
    lines = curves.pick([trial(0, loss=1.0)], {100: curve(4.0, 0.0)})

    chart = curves.figure(lines, "#000000", metric="loss", smooth=0.5)

    assert list(named(chart, "complete, raw").y) == [4.0, 0.0, None]
    assert list(chart.data[-1].y) == pytest.approx([4.0, 4 / 3])


def test_a_legend_stands_below_the_plot_and_makes_room_for_its_lines():
    def drawn(*names):
        chart = go.Figure()
        for name in names:
            chart.add_scatter(x=[0], y=[0], name=name)
        return look.frame(chart, x="step", y="loss", height=400).layout

    assert drawn("adan").height == drawn("adan", "adamw").height == 400
    assert drawn("adan", "adamw", "lamb").height == 400 + look.LINE
    assert drawn("a name too long for half a line", "adan", "lamb").height == 400 + look.LINE
    assert (drawn("adan").legend.yref, drawn("adan").legend.y) == ("container", 0)
    assert drawn(*(f"optimizer {i}" for i in range(200))).height < 600


def test_a_slice_shows_losses_where_they_were_measured(trial):
    trials = (trial(0), trial(1))
    compared = Sample(step=90, target=90, trials=trials, losses=(1.0, 2.0))

    chart = slices.figure(compared, Axis(name="lr", log=True, low=1e-4, high=1e-2), "#000000")

    assert (chart.data[0].x, chart.data[0].y) == ((1e-3, 2e-3), (1.0, 2.0))
    assert (chart.layout.xaxis.type, chart.layout.xaxis.title.text) == ("log", "learning rate")


def test_a_slice_marks_diverged_settings_at_the_top(trial):
    lost = (trial(9, state=TrialState.DIVERGED),)
    compared = Sample(step=90, target=90, trials=(trial(0),), losses=(1.0,), diverged=lost)

    chart = slices.figure(compared, Axis(name="lr", low=0, high=1), "#000000")

    assert (named(chart, "diverged").x, named(chart, "diverged").y) == ((1e-2,), (1.0,))


def test_the_timescale_of_a_setting_without_decay_is_not_drawn(trial):
    trials = (
        trial(0, params={"timescale": 100.0, "decayed": "no"}),
        trial(1, params={"timescale": 200.0, "decayed": "yes"}),
    )
    compared = Sample(step=90, target=90, trials=trials, losses=(1.0, 2.0))

    chart = slices.figure(compared, Axis(name="timescale", low=1, high=300), "#000000")

    assert chart.data[0].x == (200.0,)


def test_a_judged_setting_is_drawn_where_all_of_its_seeds_were_measured(trial, curve):
    tuned = setting_of(hyper={"lr": 2e-3})
    own = replace(
        row("adan", {0: 1.0}, {0: 0.5}), tuned=replace(contender({0: 0.5}), setting=tuned)
    )
    runs = [replace(trial(i, role=Role.JUDGE), setting=tuned, seed=i) for i in range(2)]
    searched = replace(trial(2), setting=tuned)
    known = {runs[0].id: curve(3.0, 2.0, 1.0), runs[1].id: curve(5.0, 3.0), searched.id: curve(9.0)}

    (band,) = judged.bands([own], {"adan": [*runs, searched]}, {"adan": known}, "loss")

    assert (band.name, band.seeds, band.steps) == ("adan tuned", 2, (30, 60))
    assert (band.lows, band.means, band.highs) == ((3.0, 2.0), (4.0, 2.5), (5.0, 3.0))
    chart = judged.figure([band], metric="loss")
    assert named(chart, "adan tuned").x == (30, 60, 60, 30)  # the shade, beneath the line


def test_a_trial_is_drawn_among_those_that_ranked_next_to_it(trial, curve):
    trials = [trial(i, loss=float(i)) for i in range(20)]
    lines = curves.among(
        trials, {t.id: curve(t.loss + 1, t.loss) for t in trials}, trials[9], "loss"
    )

    shown = neighbours.among(lines, 9)

    assert [line.trial.number for line in shown] == [4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 9]
    assert neighbours.figure(shown, look.BLUE, metric="loss").data[-1].name == "trial 9"
    assert neighbours.among(lines, 99) == []


def test_an_attempt_is_a_bar_in_its_workers_row(trial):
    done, lost = trial(0), trial(1, state=TrialState.FAILED)
    twin = trial(2, state=TrialState.STOPPED)
    attempts = [
        AttemptRecord(
            trial=one.id,
            number=1,
            worker=worker,
            started=START + timedelta(minutes=begun),
            heartbeat=START + timedelta(minutes=begun + 2),
            ended=ended,
            outcome="complete" if ended else None,
        )
        for one, worker, begun, ended in (
            (done, "gpu7-0", 0, START + timedelta(minutes=3)),
            (lost, "gpu7-1", 1, None),
            (twin, "gpu7-0", 1, None),
        )
    ]

    chart = timeline.figure(attempts, {one.id: one for one in (done, lost, twin)})

    drawn = {bar.name: (bar.base, bar.x, bar.y) for bar in chart.data}
    assert drawn["complete"] == ((0.0,), (3.0,), ("gpu7-0",))
    assert drawn["failed"] == ((1.0,), (2.0,), ("gpu7-1",))  # until it was last heard
    assert drawn["stopped"] == ((1.0,), (2.0,), ("gpu7-0 (2)",))  # beside the other one


def test_two_parameters_are_drawn_with_the_loss_as_colour(trial):
    settings = [{"lr": 10.0**-i, "momentum": 0.1 * i} for i in range(1, 5)]
    trials = [
        replace(trial(i), setting=setting_of(hyper=s, params=s)) for i, s in enumerate(settings)
    ]
    compared = Sample(
        trials=trials[:3], losses=[3.0, 1.0, 2.0], step=90, target=90, diverged=trials[3:]
    )
    lr, momentum = Axis(name="lr", log=True, low=1e-4, high=0.1), Axis(name="momentum")

    chart = pairs.figure(compared, lr, momentum)

    assert named(chart, "measured").x == (0.1, 0.01, 0.001)
    assert named(chart, "measured").marker.color == (3.0, 1.0, 2.0)
    assert named(chart, "diverged").x == (1e-4,)
    assert (chart.layout.xaxis.type, chart.layout.yaxis.type) == ("log", "linear")
    assert chart.layout.xaxis.ticktext == ("0.0001", "0.001", "0.01", "0.1")
    assert chart.layout.xaxis.range == pytest.approx((-4.15, -0.85))  # the whole space


def test_the_front_holds_what_nothing_beats_in_both():
    assert pareto.front([(2.0, 1.0), (1.0, 2.0), (3.0, 1.5), (1.5, 2.5), (4.0, 0.5)]) == [
        (1.0, 2.0),
        (2.0, 1.0),
        (4.0, 0.5),
    ]


def test_the_time_of_a_step_is_that_of_completed_search_trials(trial):
    done = trial(0, loss=1.0, seconds=9.0)
    others = [trial(1, loss=0.5, seconds=9.0, state=TrialState.STOPPED), trial(2, loss=0.1)]

    chart = pareto.figure({"adan": [done, *others]})

    assert named(chart, "adan").x == (100.0,)  # ms, of 90 steps
    assert named(chart, "adan").y == (1.0,)


def test_a_loss_far_above_the_others_is_left_out_of_sight_and_said(trial):
    trials = [trial(i, loss=2.0 + i / 10, state=TrialState.STOPPED) for i in range(10)]
    trials.append(trial(10, loss=30.0, state=TrialState.STOPPED))

    chart = history.figure(trials, "#000000")

    assert chart.layout.yaxis.range == pytest.approx((1.946, 2.954))
    assert chart.layout.annotations[0].text.startswith("1 above 5.6 out of sight")
    for few in (trials[:10], trials[6:]):
        assert history.figure(few, "#000000").layout.yaxis.range is None


def test_a_completed_loss_stays_in_sight_wherever_it_is(trial):
    trials = [trial(i, loss=2.0 + i / 10) for i in range(10)] + [trial(10, loss=30.0)]

    assert history.figure(trials, "#000000").layout.yaxis.range is None
