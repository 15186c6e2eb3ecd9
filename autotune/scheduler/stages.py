"""What a study runs next: search, then choose among finalists, then judge on fresh seeds.

Every decision is a function of the trials so far: a resumed study goes on as if never stopped.
The one thing remembered besides is that a study's search is over (``Ledger.searched``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from autotune.errors import SpecError
from autotune.pruners.auto import leaders, misleading
from autotune.pruners.base import Pruner
from autotune.pruners.ladder import ETA, Ladder
from autotune.registry import load
from autotune.scheduler import racing, stopping, widening
from autotune.scheduler.proposals import RUN_WHOLE, propose
from autotune.scheduler.racing import chosen
from autotune.scheduler.study_state import ENDED, Ledger
from autotune.scheduler.widening import Widened
from autotune.studies.records import Proposal, Role, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec

FIRST_JUDGE_SEED = max(racing.SEEDS) + 1  # seed index; no two stages share one

FINALS = (Role.SELECT, Role.JUDGE)
HALVING = "auto"  # the pruner whose cost is known beforehand
HEDGE = 4  # one setting in so many is not compared at the shortest rung
WHOLE = 16  # one in so many is compared at none
DOUBTED = 2  # one in so many, where what ended best would have been stopped
MORE_SEEDS = 2  # times the seeds asked for, where minutes are left
SECOND_LAP = 0.1  # of a budget in full runs, at most, is kept for finalists that are close

Affordable = Callable[[float, float], bool]  # (full runs of a stretch, full runs needed after it)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A trial, stored or still to be added, and the step to train it to."""

    trial: TrialRecord | None
    proposal: Proposal | None = None
    stop: int
    wider: Widened | None = None  # the space it was proposed in, from now on the study's
    notice: str | None = None  # what a person should know of it


def essential(spec: SearchSpec) -> int:
    """Return the settings tried whatever is left: the default, and as many as are finalists."""
    return spec.finalists + 1


def check_budget(spec: SearchSpec) -> None:
    """Refuse full runs too few to try, choose and judge anything; raises SpecError."""
    runs, least = spec.budget.resolved.runs, final_runs(spec) + spec.finalists + 1
    if runs is not None and runs < least:
        raise SpecError(
            f"budget.runs must be at least {least} to choose among {spec.finalists} finalists and "
            f"judge on {spec.seeds} seeds, got {runs:g}; raise it or lower seeds and finalists"
        )


def final_runs(spec: SearchSpec) -> int:
    """Return the full runs of choosing (finalists, default) and judging (winner, default)."""
    return spec.finalists + 1 + 2 * spec.seeds


def following(ledger: Ledger, spec: SearchSpec, affordable: Affordable) -> Stretch | None:
    """Return a study's next stretch; None when it has to wait, is through or out of budget."""
    unfinished = _unfinished(ledger, spec)
    if unfinished and affordable(_cost(ledger, unfinished), 0.0):
        return unfinished
    if not ledger.searched:
        stretch = _search(ledger, spec, affordable)
        if stretch or _busy(ledger, Role.SEARCH):
            return stretch
        ledger.searched = True
    stretch = _select(ledger, spec) or _second_lap(ledger, spec, affordable)
    if not stretch and _busy(ledger, Role.SELECT):
        return None
    stretch = stretch or _judge(ledger, spec, spec.seeds)
    if stretch:
        return stretch if affordable(1.0, 0.0) else None
    return _judge_again(ledger, spec, affordable)


def reserved(spec: SearchSpec) -> float:
    """Return the full runs that a search leaves for what follows it."""
    runs = spec.budget.resolved.runs or 0.0
    return final_runs(spec) + min(spec.finalists + 1, int(SECOND_LAP * runs))


def outstanding(ledger: Ledger, spec: SearchSpec) -> float:
    """Return the full runs a study still needs to be judged, were no further setting tried."""
    begun = sum(trial.seed == racing.SEEDS[0] for trial in ledger.of(Role.SELECT))
    race = max(0, spec.finalists + 1 - begun)
    if chosen(ledger, spec) == 0:
        race, judging = 0, _default_left(ledger, spec)
    else:
        judging = 2 * spec.seeds - len(ledger.of(Role.JUDGE))
    return race + max(0, judging) + (0.0 if ledger.searched else _closing(ledger, spec))


def _default_left(ledger: Ledger, spec: SearchSpec) -> int:
    return spec.seeds - sum(trial.source == 0 for trial in ledger.of(Role.JUDGE))


def complete(ledger: Ledger, spec: SearchSpec) -> bool:
    """Say whether everything a study set out to run has ended."""
    finals = [trial for role in FINALS for trial in ledger.of(role)]
    return (
        ledger.searched
        and chosen(ledger, spec) is not None
        and _judge(ledger, spec, spec.seeds) is None
        and all(trial.state in ENDED for trial in finals)
    )


def scarce(ledger: Ledger, spec: SearchSpec) -> str | None:
    """Say so where the budget paid for no more settings than are tried in any case."""
    tried = len(ledger.of(Role.SEARCH))
    few = tried <= essential(spec) and tried < ledger.space.points
    if spec.budget.resolved.trials is not None or not few:
        return None
    finals = sum(trial.step for role in FINALS for trial in ledger.of(role)) / ledger.target
    what = "1 setting was" if tried == 1 else f"{tried} settings were"
    went = f", as {finals:.3g} of {ledger.runs():.3g} full runs went into choosing and judging"
    return (
        f"only {what} tried{went if finals else ''}; a larger budget, fewer optimizers or fewer "
        "seeds leave more"
    )


def _cost(ledger: Ledger, stretch: Stretch) -> float:
    done = stretch.trial.step if stretch.trial else 0
    return (stretch.stop - done) / ledger.target


def stage(ledger: Ledger) -> Role:
    """Return the stage a study is in."""
    if ledger.of(Role.JUDGE):
        return Role.JUDGE
    return Role.SELECT if ledger.searched or ledger.of(Role.SELECT) else Role.SEARCH


def _unfinished(ledger: Ledger, spec: SearchSpec) -> Stretch | None:
    """Return what an earlier sitting left between two rungs, or never started."""
    left = [
        trial
        for trial in ledger.trials.values()
        if trial.state is TrialState.WAITING
        or (trial.state is TrialState.PAUSED and not _at_rung(ledger, spec, trial))
    ]
    trial = min(left, key=lambda t: t.number, default=None)
    return Stretch(trial=trial, stop=_next_stop(ledger, spec, trial)) if trial else None


def _runs_whole(ledger: Ledger, spec: SearchSpec) -> bool:
    """Say whether the next setting runs to its end, for tasks where all shorter runs mislead.

    A few always do, or nobody would know; many do as soon as one of them ended best and halving
    would have stopped it.
    """
    searched = ledger.of(Role.SEARCH)
    if spec.pruner != HALVING or not _due(len(searched), DOUBTED):
        return False
    return _due(len(searched), WHOLE) or _misleading(ledger) is not None


def _misleading(ledger: Ledger) -> int | None:
    return misleading(ledger.of(Role.SEARCH), ledger.losses, ledger.ladder)


def _doubt(ledger: Ledger) -> str | None:
    """Return a sentence on why the next setting runs whole, where it is the first to."""
    searched = ledger.of(Role.SEARCH)
    places = [t.number for t in searched if t.origin.endswith(RUN_WHOLE)] + [len(searched)]
    best = ledger.best()
    if best is None or [place for place in places if not _due(place, WHOLE)] != places[-1:]:
        return None
    return (
        f"trial {best.number} ended best but was not in the best third at step "
        f"{_misleading(ledger)} of {ledger.target}; for as long as that holds, every second new "
        "setting runs to its end"
    )


def _due(place: int, every: int) -> bool:
    return place % every == every - 1


def _rungs(ledger: Ledger, spec: SearchSpec, place: int) -> Ladder:
    """Return where a study's trial of this place may stop, unless it runs whole.

    The shortest runs are mostly start. The first trials are longer, and tell how long others take;
    of the rest some are too, for tasks where the shortest runs rank settings the wrong way round.
    """
    hedged = spec.pruner == HALVING and _due(place, HEDGE)
    return ledger.ladder.patient() if hedged or place < essential(spec) else ledger.ladder


def _rungs_of(ledger: Ledger, spec: SearchSpec, trial: TrialRecord) -> Ladder:
    whole = trial.origin.endswith(RUN_WHOLE)
    return ledger.ladder.whole() if whole else _rungs(ledger, spec, trial.number)


def _at_rung(ledger: Ledger, spec: SearchSpec, trial: TrialRecord) -> bool:
    rungs = _rungs_of(ledger, spec, trial)
    return (
        trial.role is Role.SEARCH
        and trial.step in rungs.steps
        and trial.step >= rungs.first
        and trial.step in ledger.losses.get(trial.id, {})
    )


def _next_stop(ledger: Ledger, spec: SearchSpec, trial: TrialRecord) -> int:
    if trial.role is not Role.SEARCH:
        return trial.target
    return _rungs_of(ledger, spec, trial).above(trial.step)


def _busy(ledger: Ledger, role: Role) -> bool:
    return any(trial.role is role for trial in ledger.running())


def _search(ledger: Ledger, spec: SearchSpec, affordable: Affordable) -> Stretch | None:
    """Promote where halving says so, else try a new setting, else close."""
    return (
        _promote(ledger, spec, affordable)
        or _try(ledger, spec, affordable)
        or _close(ledger, spec, affordable)
    )


def _promote(ledger: Ledger, spec: SearchSpec, affordable: Affordable) -> Stretch | None:
    pruner: Pruner = load("autotune.pruners", spec.pruner)
    promotion = pruner(ledger.of(Role.SEARCH), ledger.losses, ledger.ladder)
    if promotion is None:
        return None
    trial, stop = promotion
    stretch = Stretch(trial=trial, stop=stop)
    needed = _closing(ledger, spec, trial, stop) + reserved(spec)
    return stretch if affordable(_cost(ledger, stretch), needed) else None


def _try(ledger: Ledger, spec: SearchSpec, affordable: Affordable) -> Stretch | None:
    trials = ledger.of(Role.SEARCH)
    limit = spec.budget.resolved.trials
    if (limit is not None and len(trials) >= limit) or stopping.reached(ledger, spec):
        return None
    whole = _runs_whole(ledger, spec)
    stop = ledger.target if whole else _rungs(ledger, spec, len(trials)).first
    early = len(trials) < essential(spec)
    needed = 0.0 if early else _closing(ledger, spec) + reserved(spec)
    if not affordable(stop / ledger.target, needed):
        return None
    wider = widening.widened(ledger)
    known = replace(ledger, space=wider.space) if wider else ledger
    proposal = propose(known, spec, whole=whole)
    notice = _doubt(ledger) if whole else None
    found = Stretch(trial=None, proposal=proposal, stop=stop, wider=wider, notice=notice)
    return found if proposal else None


def _close(ledger: Ledger, spec: SearchSpec, affordable: Affordable) -> Stretch | None:
    """Take the leaders to full length, so that finalists were seen whole."""
    busy = [trial for trial in ledger.running() if trial.role is Role.SEARCH]
    if any(ledger.stops.get(trial.id) != ledger.target for trial in busy):
        return None  # it may yet become a leader
    count = spec.finalists - len(busy)
    first = leaders(ledger.of(Role.SEARCH), ledger.losses, ledger.ladder, count)
    for place, trial in enumerate(first):
        needed = final_runs(spec) if place or busy else 0.0  # one finalist there has to be
        stretch = Stretch(trial=trial, stop=ledger.target)
        if trial.state is TrialState.PAUSED and affordable(_cost(ledger, stretch), needed):
            return stretch
    return None


def _closing(
    ledger: Ledger, spec: SearchSpec, moved: TrialRecord | None = None, to: int = 0
) -> float:
    """Return the full runs it takes to bring the leaders to full length."""
    trials = ledger.of(Role.SEARCH)
    first = leaders(trials, ledger.losses, ledger.ladder, spec.finalists)
    steps = [to if moved and trial.id == moved.id else trial.step for trial in first]
    steps += [ledger.ladder.first] * (spec.finalists - len(first))
    return sum(ledger.target - step for step in steps) / ledger.target


def _select(ledger: Ledger, spec: SearchSpec) -> Stretch | None:
    """Return the next run of the race's first lap, which everyone runs."""
    return next((_racing(trial, 0) for trial in racing.missing(ledger, spec, 0)), None)


def _second_lap(ledger: Ledger, spec: SearchSpec, affordable: Affordable) -> Stretch | None:
    """Return a run for those that the first lap could not tell apart, if all of it can be paid."""
    winner = chosen(ledger, spec)
    if winner is None or any(trial.source == winner for trial in ledger.of(Role.JUDGE)):
        return None
    missing = racing.missing(ledger, spec, 1)
    if missing and affordable(float(len(missing)), 2.0 * spec.seeds):
        return _racing(missing[0], 1)
    return None


def _again(source: TrialRecord, role: Role, seed: int, origin: str) -> Stretch:
    proposal = Proposal(
        role=role,
        origin=origin,
        params=source.params,
        hyper=source.hyper,
        warmup=source.warmup,
        seed=seed,
        target=source.target,
        source=source.number,
    )
    return Stretch(trial=None, proposal=proposal, stop=source.target)


def _racing(trial: TrialRecord, lap: int) -> Stretch:
    origin = "finalist" if trial.number else "default"
    return _again(trial, Role.SELECT, racing.SEEDS[lap], origin)


def rounds(ledger: Ledger, spec: SearchSpec) -> int:
    """Return on how many seeds a study has begun to judge everything it judges."""
    contenders = 2 if chosen(ledger, spec) else 1
    return len(ledger.of(Role.JUDGE)) // contenders


def _judge_again(ledger: Ledger, spec: SearchSpec, affordable: Affordable) -> Stretch | None:
    """Spend minutes that are left on further seeds: how many depends on time, never on a loss."""
    if spec.budget.resolved.minutes is None:
        return None
    stretch = _judge(ledger, spec, MORE_SEEDS * spec.seeds)
    if stretch is None or stretch.proposal is None:
        return None
    # A seed's first run, the default's, compares nothing without its second.
    pair = stretch.proposal.source == 0 and chosen(ledger, spec) != 0
    return stretch if affordable(1.0, 1.0 if pair else 0.0) else None


def _judge(ledger: Ledger, spec: SearchSpec, seeds: int) -> Stretch | None:
    """Return the next run of the stage that judges: winner and default on seeds nobody used."""
    winner = chosen(ledger, spec)
    if winner is None:
        return None
    by_number = {trial.number: trial for trial in ledger.of(Role.SEARCH)}
    known = {(t.source, t.seed) for t in ledger.of(Role.JUDGE)}
    for seed in range(FIRST_JUDGE_SEED, FIRST_JUDGE_SEED + seeds):
        for number in dict.fromkeys((0, winner)):
            if (number, seed) not in known:
                origin = "tuned" if number else "default"
                return _again(by_number[number], Role.JUDGE, seed, origin)
    return None


def waves(spec: SearchSpec, slots: int) -> int:
    """Return the full runs that follow one another, whatever the workers: close, select, judge."""
    stages_runs = (spec.finalists, spec.finalists + 1, 2 * spec.seeds)
    return sum(-(-runs // slots) for runs in stages_runs)


def search_runs(spec: SearchSpec, trials: int, rungs: Ladder) -> float:
    """Return the full runs that ``trials`` settings are expected to take, at most with a pruner."""
    if spec.pruner != HALVING:
        return float(trials)
    target, done, total, count = rungs.steps[-1], 0, 0.0, float(trials)
    for step in rungs.steps[rungs.steps.index(rungs.first) :]:
        total += max(1.0, count) * (step - done) / target
        done, count = step, count / ETA
    return total + trials // WHOLE * (1 - rungs.first / target)
