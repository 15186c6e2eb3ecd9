"""Each contract fails for an implementation that breaks what it is about."""

from __future__ import annotations

import inspect
import itertools
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from autotune.engines.inline import Inline
from autotune.samplers import random, sobol, tpe
from autotune.space.spaces import Choice
from autotune.studies.records import TrialRecord, TrialState
from autotune.studies.store import Store
from autotune.testing.engines import EngineContract
from autotune.testing.pruners import PrunerContract
from autotune.testing.samplers import SPACE, SamplerContract
from autotune.testing.stores import StoreContract, created
from autotune.training.job import Job, Outcome, Report

ROOT = Path(__file__).parents[2]
CONTRACTS = (SamplerContract, PrunerContract, EngineContract, StoreContract)
FAILED = (AssertionError, pytest.fail.Exception)  # the second where nothing was refused

numbers = itertools.count()


def outside(space, observed, *, index, seed):
    return {**random.sampler(space, observed, index=index, seed=seed), "lr": 1.0}


def unnamed(space, observed, *, index, seed):
    return {"lr": 1e-3}


def forgetful(space, observed, *, index, seed):
    return random.sampler(space, observed, index=index, seed=next(numbers))


def stubborn(space, observed, *, index, seed):
    return sobol.sampler(space, observed, index=index, seed=1)


def careless(space, observed, *, index, seed):
    usable = [seen for seen in observed if seen.loss is not None]
    return tpe.sampler(space, usable, index=index, seed=seed)


def tidying(space, observed, *, index, seed):
    observed.sort(key=lambda seen: -seen.loss)
    return random.sampler(space, observed, index=index, seed=seed)


def numeric(space, observed, *, index, seed):
    low = [0.0 if isinstance(axis, Choice) else axis.low for axis in space.parameters.values()]
    return {**random.sampler(space, observed, index=index, seed=seed), "lr": low[0]}


SAMPLERS = [
    ("test_proposals_lie_in_the_space", outside),
    ("test_proposals_lie_in_the_space", unnamed),
    ("test_proposals_depend_on_nothing_but_the_arguments", forgetful),
    ("test_what_was_observed_is_left_alone", tidying),
    ("test_another_seed_proposes_something_else", stubborn),
    ("test_diverged_trials_are_told", careless),
    ("test_a_space_of_choices_alone_is_sampled", numeric),
]


@pytest.mark.parametrize(("check", "sampler"), SAMPLERS)
def test_a_broken_sampler_is_found(check, sampler):
    extra = {"count": 0} if check == "test_proposals_lie_in_the_space" else {}
    with pytest.raises(FAILED):
        getattr(SamplerContract(), check)(sampler, **extra)


@pytest.mark.parametrize("name", ["lr", "warmup"])
@pytest.mark.parametrize("unit", [-0.01, 1.01])
def test_a_proposal_beyond_any_end_of_a_range_is_found(name, unit):
    axis = SPACE.parameters[name]
    low, high = (math.log(axis.low), math.log(axis.high)) if axis.log else (axis.low, axis.high)
    beyond = low + unit * (high - low)

    def sampler(space, observed, *, index, seed):
        value = math.exp(beyond) if axis.log else beyond
        return {**random.sampler(space, observed, index=index, seed=seed), name: value}

    with pytest.raises(AssertionError, match=f"^{name} must be in its range, got "):
        SamplerContract().test_proposals_lie_in_the_space(sampler, 0)


def eager(trials, losses, rungs):
    trials = list(trials)
    return (trials[0], rungs.steps[-1]) if trials else None


def sleepless(trials, losses, rungs):
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    return (running[0], rungs.above(running[0].step)) if running else None


def leaping(trials, losses, rungs):
    waiting = [t for t in trials if t.state is TrialState.PAUSED and t.step in rungs.steps]
    return (waiting[0], rungs.steps[-1]) if waiting else None


def between(trials, losses, rungs):
    waiting = [trial for trial in trials if trial.state is TrialState.PAUSED]
    return (waiting[-1], rungs.above(waiting[-1].step)) if waiting else None


def fickle(trials, losses, rungs):
    waiting = [t for t in trials if t.state is TrialState.PAUSED and t.step in rungs.steps]
    chosen = waiting[next(numbers) % len(waiting)] if waiting else None
    return (chosen, rungs.above(chosen.step)) if chosen else None


PRUNERS = [
    ("test_nobody_goes_on_where_nobody_waits", eager),
    ("test_who_goes_on_is_one_that_waits_at_a_rung", sleepless),
    ("test_who_goes_on_is_one_that_waits_at_a_rung", leaping),
    ("test_who_goes_on_is_one_that_waits_at_a_rung", between),
    ("test_who_goes_on_is_one_that_waits_at_a_rung", fickle),
]


@pytest.mark.parametrize(("check", "pruner"), PRUNERS)
def test_a_broken_pruner_is_found(check, pruner):
    with pytest.raises(FAILED):
        getattr(PrunerContract(), check)(pruner)


class Told(Inline):
    """An engine that says something else than what happened."""

    def reports(self, timeout: float) -> list[Report]:
        return [self.change(report) for report in super().reports(timeout)]

    def change(self, report: Report) -> Report:
        return report


class Silent(Told):
    def change(self, report):
        return replace(report, points=())


class Mixed(Told):
    def change(self, report):
        return replace(report, attempt=1)


class Uneven(Told):
    def change(self, report):
        points = (replace(point, loss=point.loss and next(numbers)) for point in report.points)
        return replace(report, points=tuple(points))


class Deaf(Inline):
    def interrupt(self, trial: int | None = None) -> None:
        pass


class Jumpy(Inline):
    def interrupt(self, trial: int | None = None) -> None:
        super().interrupt()


class Sulking(Inline):
    def submit(self, job: Job) -> None:
        before = self._interrupted
        super().submit(job)
        self._interrupted = before


class Restarting(Inline):
    def submit(self, job: Job) -> None:
        super().submit(replace(job, start=0, resume=None, seed=job.seed + job.start))


class Hopeful(Told):
    def change(self, report):
        kept = report.outcome not in {Outcome.DIVERGED, Outcome.FAILED}
        return report if kept else replace(report, outcome=Outcome.REACHED)


class Proud(Inline):
    def close(self) -> None:
        super().close()
        del self._threads


class Talking(Inline):
    def reports(self, timeout: float) -> list[Report]:
        return super().reports(timeout) or [
            Report(trial=1, attempt=1, outcome=Outcome.LOST, step=0)
        ]


class Crowded(Inline):
    slots = 2  # but it forgets the first of two


class Merciful(Told):
    def kill(self, trial: int | None = None) -> None:
        self._interrupted = True


ENGINES = [
    ("test_what_was_closed_is_closed_again_without_harm", Proud),
    ("test_nothing_is_reported_where_nothing_runs", Talking),
    ("test_a_job_tells_its_losses_and_ends_at_its_stop", Silent),
    ("test_a_job_tells_its_losses_and_ends_at_its_stop", Mixed),
    ("test_equal_jobs_tell_equal_losses", Uneven),
    ("test_every_slot_takes_a_job", Crowded),
    ("test_a_job_goes_on_as_if_it_had_not_paused", Restarting),
    ("test_an_interrupted_job_ends_and_the_next_one_runs", Deaf),
    ("test_an_interrupted_job_ends_and_the_next_one_runs", Jumpy),
    ("test_an_interrupted_job_ends_and_the_next_one_runs", Sulking),
    ("test_a_killed_job_is_lost_unless_there_is_nothing_to_kill", Merciful),
    ("test_what_diverges_and_what_raises_is_told", Hopeful),
]


@pytest.fixture
def threads():
    """What engines in this process change, as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("check", "engine"), ENGINES)
def test_a_broken_engine_is_found(check, engine, tmp_path, monkeypatch):
    monkeypatch.setattr(EngineContract, "patience", 3.0)
    test = getattr(EngineContract(), check)
    asked = inspect.signature(test).parameters
    test = partial(test, engine() if "engine" in asked else engine)
    if "tmp_path" in asked:
        test = partial(test, tmp_path=tmp_path)
    with pytest.raises((*FAILED, AttributeError)):
        test()


class Late(Store):
    """It takes reports of older attempts."""

    def record(self, trial_id, attempt, **outcome) -> TrialRecord:
        return super().record(trial_id, self.begin(trial_id, "w1"), **outcome)


class Doubling(Store):
    def record(self, trial_id, attempt, **outcome) -> TrialRecord:
        outcome["seconds"] = outcome.get("seconds", 0.0) + self.trial(trial_id).seconds
        return super().record(trial_id, attempt, **outcome)


class Hoarding(Store):
    def delete_search(self, name: str) -> None:
        pass


class Oldest(Store):
    def searches(self):
        return super().searches()[::-1]


class Everybody(Store):
    def take_turn(self, search_id: int, who: str) -> bool:
        return super().take_turn(search_id, who) or True


class Gossip(Store):
    def changes(self, search_id: int, since: int = -1):
        return super().changes(search_id)


class Harsh(Store):
    def reap(self, search_id: int, *, worker: str | None = None, blame: bool = True) -> list[int]:
        found = [super(Harsh, self).reap(search_id, worker=one) for one in ("w1", "w2")]
        return [trial for trials in found for trial in trials]


class Still(Store):
    def signature(self, name: str | None = None) -> str:
        return "1"


class Stale(Store):
    def recommendation(self, study_id: int):
        return super().recommendation(study_id) and {"trial": 1}


STORES = [
    ("test_searches_are_listed_newest_first", Oldest),
    ("test_a_trial_records_how_it_ended", Doubling),
    ("test_a_report_of_an_older_attempt_is_refused", Late),
    ("test_a_recommendation_replaces_the_one_before", Stale),
    ("test_a_deleted_search_leaves_nothing_behind", Hoarding),
    ("test_any_change_changes_the_signature", Still),
    ("test_one_decides_at_a_time", Everybody),
    ("test_what_a_dead_worker_ran_goes_back", Harsh),
    ("test_changes_tell_only_of_what_is_new", Gossip),
]


@pytest.mark.parametrize(("check", "kind"), STORES)
def test_a_broken_store_is_found(check, kind, tmp_path):
    test = getattr(StoreContract(), check)
    with kind(f"{tmp_path}/autotune.db") as store:
        if "study" in inspect.signature(test).parameters:
            test = partial(test, study=created(store).studies[0].id)
        with pytest.raises(FAILED):
            test(store)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_contributors_are_told_of_every_contract(contract):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"`{contract.__module__}`" in text
