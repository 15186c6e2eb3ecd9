"""What a study runs next: search, then choose among finalists, then judge on fresh seeds.

Every decision is a function of the trials so far: a resumed study goes on as if never stopped.
The one thing remembered besides is that a study's search is over (``StudyState.searched``).
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
from autotune.scheduler.policy import Policy
from autotune.scheduler.proposals import RUN_WHOLE, propose
from autotune.scheduler.racing import chosen
from autotune.scheduler.study_state import ENDED, StudyState
from autotune.scheduler.widening import Widened
from autotune.studies.records import Proposal, Role, TrialRecord, TrialState

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


def essential(policy: Policy) -> int:
    """Return the settings tried whatever is left: the default, and as many as are finalists."""
    return policy.finalists + 1


def check_budget(policy: Policy) -> None:
    """Refuse full runs too few to try, choose and judge anything; raises SpecError."""
    runs, least = policy.budget.runs, final_runs(policy) + essential(policy)
    if runs is not None and runs < least:
        raise SpecError(
            f"budget.runs must be at least {least} to choose among {policy.finalists} finalists "
            f"and judge on {policy.seeds} seeds, got {runs:g}; raise it or lower seeds and "
            "finalists"
        )


def final_runs(policy: Policy) -> int:
    """Return the full runs of choosing (finalists, default) and judging (winner, default)."""
    return policy.finalists + 1 + 2 * policy.seeds


def following(state: StudyState, affordable: Affordable) -> Stretch | None:
    """Return a study's next stretch; None when it has to wait, is through or out of budget."""
    unfinished = _unfinished(state)
    if unfinished and affordable(_cost(state, unfinished), 0.0):
        return unfinished
    if not state.searched:
        stretch = _search(state, affordable)
        if stretch or _busy(state, Role.SEARCH):
            return stretch
        state.searched = True
    stretch = _select(state) or _second_lap(state, affordable)
    if not stretch and _busy(state, Role.SELECT):
        return None
    stretch = stretch or _judge(state, state.policy.seeds)
    if stretch:
        return stretch if affordable(1.0, 0.0) else None
    return _judge_again(state, affordable)


def reserved(policy: Policy) -> float:
    """Return the full runs that a search leaves for what follows it."""
    runs = policy.budget.runs or 0.0
    return final_runs(policy) + min(policy.finalists + 1, int(SECOND_LAP * runs))


def outstanding(state: StudyState) -> float:
    """Return the full runs a study still needs to be judged, were no further setting tried."""
    begun = sum(trial.seed == racing.SEEDS[0] for trial in state.of(Role.SELECT))
    race = max(0, state.policy.finalists + 1 - begun)
    if chosen(state) == 0:
        race, judging = 0, _default_left(state)
    else:
        judging = 2 * state.policy.seeds - len(state.of(Role.JUDGE))
    return race + max(0, judging) + (0.0 if state.searched else _closing(state))


def _default_left(state: StudyState) -> int:
    return state.policy.seeds - sum(trial.source == 0 for trial in state.of(Role.JUDGE))


def complete(state: StudyState) -> bool:
    """Say whether everything a study set out to run has ended."""
    finals = [trial for role in FINALS for trial in state.of(role)]
    return (
        state.searched
        and chosen(state) is not None
        and _judge(state, state.policy.seeds) is None
        and all(trial.state in ENDED for trial in finals)
    )


def scarce(state: StudyState) -> str | None:
    """Say so where the budget paid for no more settings than are tried in any case."""
    tried = len(state.of(Role.SEARCH))
    few = tried <= essential(state.policy) and tried < state.space.points
    if state.policy.budget.trials is not None or not few:
        return None
    finals = sum(trial.step for role in FINALS for trial in state.of(role)) / state.target
    what = "1 setting was" if tried == 1 else f"{tried} settings were"
    went = f", as {finals:.3g} of {state.runs():.3g} full runs went into choosing and judging"
    return (
        f"only {what} tried{went if finals else ''}; a larger budget, fewer optimizers or fewer "
        "seeds leave more"
    )


def _cost(state: StudyState, stretch: Stretch) -> float:
    done = stretch.trial.step if stretch.trial else 0
    return (stretch.stop - done) / state.target


def stage(state: StudyState) -> Role:
    """Return the stage a study is in."""
    if state.of(Role.JUDGE):
        return Role.JUDGE
    return Role.SELECT if state.searched or state.of(Role.SELECT) else Role.SEARCH


def _unfinished(state: StudyState) -> Stretch | None:
    """Return what an earlier sitting left between two rungs, or never started."""
    left = [
        trial
        for trial in state.trials.values()
        if trial.state is TrialState.WAITING
        or (trial.state is TrialState.PAUSED and not _at_rung(state, trial))
    ]
    trial = min(left, key=lambda t: t.number, default=None)
    return Stretch(trial=trial, stop=_next_stop(state, trial)) if trial else None


def _runs_whole(state: StudyState) -> bool:
    """Say whether the next setting runs to its end, for tasks where all shorter runs mislead.

    A few always do, or nobody would know; many do as soon as one of them ended best and halving
    would have stopped it.
    """
    searched = state.of(Role.SEARCH)
    if state.policy.pruner != HALVING or not _due(len(searched), DOUBTED):
        return False
    return _due(len(searched), WHOLE) or _misleading(state) is not None


def _misleading(state: StudyState) -> int | None:
    return misleading(state.of(Role.SEARCH), state.losses, state.ladder)


def _doubt(state: StudyState) -> str | None:
    """Return a sentence on why the next setting runs whole, where it is the first to."""
    searched = state.of(Role.SEARCH)
    places = [t.number for t in searched if t.origin.endswith(RUN_WHOLE)] + [len(searched)]
    best = state.best()
    if best is None or [place for place in places if not _due(place, WHOLE)] != places[-1:]:
        return None
    return (
        f"trial {best.number} ended best but was not in the best third at step "
        f"{_misleading(state)} of {state.target}; for as long as that holds, every second new "
        "setting runs to its end"
    )


def _due(place: int, every: int) -> bool:
    return place % every == every - 1


def _rungs(state: StudyState, place: int) -> Ladder:
    """Return where a study's trial of this place may stop, unless it runs whole.

    The shortest runs are mostly start. The first trials are longer, and tell how long others take;
    of the rest some are too, for tasks where the shortest runs rank settings the wrong way round.
    """
    hedged = state.policy.pruner == HALVING and _due(place, HEDGE)
    return state.ladder.patient() if hedged or place < essential(state.policy) else state.ladder


def _rungs_of(state: StudyState, trial: TrialRecord) -> Ladder:
    whole = trial.origin.endswith(RUN_WHOLE)
    return state.ladder.whole() if whole else _rungs(state, trial.number)


def _at_rung(state: StudyState, trial: TrialRecord) -> bool:
    rungs = _rungs_of(state, trial)
    return (
        trial.role is Role.SEARCH
        and trial.step in rungs.steps
        and trial.step >= rungs.first
        and trial.step in state.losses.get(trial.id, {})
    )


def _next_stop(state: StudyState, trial: TrialRecord) -> int:
    if trial.role is not Role.SEARCH:
        return trial.target
    return _rungs_of(state, trial).above(trial.step)


def _busy(state: StudyState, role: Role) -> bool:
    return any(trial.role is role for trial in state.running())


def _search(state: StudyState, affordable: Affordable) -> Stretch | None:
    """Promote where halving says so, else try a new setting, else close."""
    return _promote(state, affordable) or _try(state, affordable) or _close(state, affordable)


def _promote(state: StudyState, affordable: Affordable) -> Stretch | None:
    pruner: Pruner = load("autotune.pruners", state.policy.pruner)
    promotion = pruner(state.of(Role.SEARCH), state.losses, state.ladder)
    if promotion is None:
        return None
    trial, stop = promotion
    stretch = Stretch(trial=trial, stop=stop)
    needed = _closing(state, trial, stop) + reserved(state.policy)
    return stretch if affordable(_cost(state, stretch), needed) else None


def _try(state: StudyState, affordable: Affordable) -> Stretch | None:
    trials = state.of(Role.SEARCH)
    limit = state.policy.budget.trials
    if (limit is not None and len(trials) >= limit) or stopping.reached(state):
        return None
    whole = _runs_whole(state)
    stop = state.target if whole else _rungs(state, len(trials)).first
    early = len(trials) < essential(state.policy)
    needed = 0.0 if early else _closing(state) + reserved(state.policy)
    if not affordable(stop / state.target, needed):
        return None
    wider = widening.widened(state)
    known = replace(state, space=wider.space) if wider else state
    proposal = propose(known, whole=whole)
    notice = _doubt(state) if whole else None
    found = Stretch(trial=None, proposal=proposal, stop=stop, wider=wider, notice=notice)
    return found if proposal else None


def _close(state: StudyState, affordable: Affordable) -> Stretch | None:
    """Take the leaders to full length, so that finalists were seen whole."""
    busy = [trial for trial in state.running() if trial.role is Role.SEARCH]
    if any(state.stops.get(trial.id) != state.target for trial in busy):
        return None  # it may yet become a leader
    count = state.policy.finalists - len(busy)
    first = leaders(state.of(Role.SEARCH), state.losses, state.ladder, count)
    for place, trial in enumerate(first):
        needed = final_runs(state.policy) if place or busy else 0.0  # one finalist there has to be
        stretch = Stretch(trial=trial, stop=state.target)
        if trial.state is TrialState.PAUSED and affordable(_cost(state, stretch), needed):
            return stretch
    return None


def _closing(state: StudyState, moved: TrialRecord | None = None, to: int = 0) -> float:
    """Return the full runs it takes to bring the leaders to full length."""
    trials = state.of(Role.SEARCH)
    first = leaders(trials, state.losses, state.ladder, state.policy.finalists)
    steps = [to if moved and trial.id == moved.id else trial.step for trial in first]
    steps += [state.ladder.first] * (state.policy.finalists - len(first))
    return sum(state.target - step for step in steps) / state.target


def _select(state: StudyState) -> Stretch | None:
    """Return the next run of the race's first lap, which everyone runs."""
    return next((_racing(trial, 0) for trial in racing.missing(state, 0)), None)


def _second_lap(state: StudyState, affordable: Affordable) -> Stretch | None:
    """Return a run for those that the first lap could not tell apart, if all of it can be paid."""
    winner = chosen(state)
    if winner is None or any(trial.source == winner for trial in state.of(Role.JUDGE)):
        return None
    missing = racing.missing(state, 1)
    if missing and affordable(float(len(missing)), 2.0 * state.policy.seeds):
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


def rounds(state: StudyState) -> int:
    """Return on how many seeds a study has begun to judge everything it judges."""
    contenders = 2 if chosen(state) else 1
    return len(state.of(Role.JUDGE)) // contenders


def _judge_again(state: StudyState, affordable: Affordable) -> Stretch | None:
    """Spend minutes that are left on further seeds: how many depends on time, never on a loss."""
    if state.policy.budget.minutes is None:
        return None
    stretch = _judge(state, MORE_SEEDS * state.policy.seeds)
    if stretch is None or stretch.proposal is None:
        return None
    # A seed's first run, the default's, compares nothing without its second.
    pair = stretch.proposal.source == 0 and chosen(state) != 0
    return stretch if affordable(1.0, 1.0 if pair else 0.0) else None


def _judge(state: StudyState, seeds: int) -> Stretch | None:
    """Return the next run of the stage that judges: winner and default on seeds nobody used."""
    winner = chosen(state)
    if winner is None:
        return None
    by_number = {trial.number: trial for trial in state.of(Role.SEARCH)}
    known = {(t.source, t.seed) for t in state.of(Role.JUDGE)}
    for seed in range(FIRST_JUDGE_SEED, FIRST_JUDGE_SEED + seeds):
        for number in dict.fromkeys((0, winner)):
            if (number, seed) not in known:
                origin = "tuned" if number else "default"
                return _again(by_number[number], Role.JUDGE, seed, origin)
    return None


def waves(policy: Policy, slots: int) -> int:
    """Return the full runs that follow one another, whatever the workers: close, select, judge."""
    stages_runs = (policy.finalists, policy.finalists + 1, 2 * policy.seeds)
    return sum(-(-runs // slots) for runs in stages_runs)


def search_runs(policy: Policy, trials: int, rungs: Ladder) -> float:
    """Return the full runs that ``trials`` settings are expected to take, at most with a pruner."""
    if policy.pruner != HALVING:
        return float(trials)
    target, done, total, count = rungs.steps[-1], 0, 0.0, float(trials)
    for step in rungs.steps[rungs.steps.index(rungs.first) :]:
        total += max(1.0, count) * (step - done) / target
        done, count = step, count / ETA
    return total + trials // WHOLE * (1 - rungs.first / target)
