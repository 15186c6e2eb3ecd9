"""Suggest what a study runs next: search, then select among finalists, then judge on fresh seeds.

Every decision depends only on the trials so far, so a resumed study goes on as if never stopped.
One more fact is remembered: that a study's search is over (``StudyState.searched``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from autotune.pruners.auto import leaders, misleading
from autotune.pruners.base import Pruner
from autotune.pruners.ladder import Ladder
from autotune.registry import load
from autotune.scheduler import racing, stopping, widening
from autotune.scheduler.full_runs import HALVING, WHOLE, essential
from autotune.scheduler.policy import Policy
from autotune.scheduler.proposals import RUN_WHOLE, propose
from autotune.scheduler.racing import chosen
from autotune.scheduler.study_state import ENDED, StudyState
from autotune.scheduler.widening import Widened
from autotune.studies.records import Proposal, Role, TrialRecord, TrialState

FIRST_JUDGE_SEED = max(racing.SEEDS) + 1  # seed index; no two stages share one

FINALS = (Role.SELECT, Role.JUDGE)
HEDGE = 4  # every 4th setting skips the shortest rung
DOUBTED = 2  # every 2nd setting does, if halving would have stopped the best finished trial
MORE_SEEDS = 2  # at most this many times the seeds asked for, if minutes are left
SECOND_LAP = 0.1  # part of a budget in full runs that is kept for the second lap of the race

# Takes the full runs of a suggestion and the full runs needed after it.
Affordable = Callable[[float, float], bool]


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A trial, stored or new, and the step to train it to."""

    trial: TrialRecord | None
    proposal: Proposal | None = None
    stop: int
    wider: Widened | None = None  # a wider space, which the study uses from now on
    notice: str | None = None  # a sentence for the user


def next_suggestion(state: StudyState, affordable: Affordable) -> Suggestion | None:
    """Return a study's next suggestion; None if it must wait, is complete or out of budget."""
    unfinished = _unfinished(state)
    if unfinished and affordable(_cost(state, unfinished), 0.0):
        return unfinished
    if not state.searched:
        suggestion = _search(state, affordable)
        if suggestion or _busy(state, Role.SEARCH):
            return suggestion
        state.searched = True
    suggestion = _select(state) or _second_lap(state, affordable)
    if not suggestion and _busy(state, Role.SELECT):
        return None
    suggestion = suggestion or _judge(state, state.policy.seeds)
    if suggestion:
        return suggestion if affordable(1.0, 0.0) else None
    return _judge_again(state, affordable)


def reserved(state: StudyState) -> float:
    """Return the full runs that the search leaves for selecting and judging."""
    runs = state.policy.budget.runs or 0.0
    return finals(state) + min(state.policy.finalists + 1, int(SECOND_LAP * runs))


def outstanding(state: StudyState) -> float:
    """Return the full runs that a study still needs if it tries no further setting."""
    if not state.searched:
        return anew(state)
    race, winner = len(racing.missing(state, 0)), chosen(state)
    tuned = 0 if winner == 0 else _to_judge(state, winner)
    return race + _to_judge(state, 0) + tuned


def anew(state: StudyState) -> float:
    """Return the full runs to end a search that goes on and to choose and judge what it finds."""
    return closing(state) + finals(state)


def has_more(state: StudyState) -> bool:
    """Return whether a study has settings left to try."""
    tried, limit = len(state.of(Role.SEARCH)), state.policy.budget.trials
    return tried < state.space.points and (limit is None or tried < limit)


def next_part(state: StudyState) -> float:
    """Return the part of a full run that the next setting first takes."""
    place, whole = len(state.of(Role.SEARCH)), _runs_whole(state)
    stop = state.target if whole else _rungs(state.policy, state.ladder, place).first
    return stop / state.target


def finals(state: StudyState) -> float:
    """Return the full runs to select and judge a new winner; those of the default may be there."""
    raced = any(t.source == 0 and t.seed == racing.SEEDS[0] for t in state.of(Role.SELECT))
    select = state.policy.finalists + (not raced)
    return select + _to_judge(state, 0) + state.policy.seeds


def _to_judge(state: StudyState, number: int | None) -> int:
    """Return on how many seeds a setting has yet to be judged; those of others do not count."""
    return state.policy.seeds - min(state.policy.seeds, _judged(state, number))


def _judged(state: StudyState, number: int | None) -> int:
    return sum(trial.source == number for trial in state.of(Role.JUDGE))


def complete(state: StudyState) -> bool:
    """Return whether all trials of a study have ended and its recommendation is judged."""
    finals = [trial for role in FINALS for trial in state.of(role)]
    return (
        state.searched
        and chosen(state) is not None
        and _judge(state, state.policy.seeds) is None
        and all(trial.state in ENDED for trial in finals)
    )


def scarce(state: StudyState) -> str | None:
    """Return a warning if the budget paid only for the settings that are tried in any case."""
    tried = len(state.of(Role.SEARCH))
    few = tried <= essential(state.policy) and tried < state.space.points
    if state.policy.budget.trials is not None or not few:
        return None
    finals = sum(trial.step for role in FINALS for trial in state.of(role)) / state.target
    what = "1 setting was" if tried == 1 else f"{tried} settings were"
    went = f": {finals:.3g} of {state.runs():.3g} full runs went into selecting and judging"
    return (
        f"only {what} tried{went if finals else ''}. To try more, raise the budget or use fewer "
        "optimizers or seeds"
    )


def _cost(state: StudyState, suggestion: Suggestion) -> float:
    done = suggestion.trial.step if suggestion.trial else 0
    return (suggestion.stop - done) / state.target


def stage(state: StudyState) -> Role:
    """Return the stage that a study is in."""
    if not state.searched:
        return Role.SEARCH
    return Role.JUDGE if state.of(Role.JUDGE) and chosen(state) is not None else Role.SELECT


def _unfinished(state: StudyState) -> Suggestion | None:
    """Return a trial that was interrupted between two rungs or never started."""
    left = [trial for trial in state.changed.values() if _between(state, trial)]
    # Only a change of a trial can make another answer, and a study may have ten thousand.
    state.changed = {trial.id: trial for trial in left}
    trial = min(left, key=lambda t: t.number, default=None)
    return Suggestion(trial=trial, stop=_next_stop(state, trial)) if trial else None


def _between(state: StudyState, trial: TrialRecord) -> bool:
    if trial.state is TrialState.PAUSED:
        return not _at_rung(state, trial)
    return trial.state is TrialState.WAITING


def _runs_whole(state: StudyState) -> bool:
    """Return whether the next setting skips all rungs, for tasks where shorter runs mislead.

    Every 16th always does, to find such tasks. Every 2nd does as soon as one of them ended best
    although halving would have stopped it.
    """
    searched = state.of(Role.SEARCH)
    if state.policy.pruner != HALVING or not _due(len(searched), DOUBTED):
        return False
    return _due(len(searched), WHOLE) or _misleading(state) is not None


def _misleading(state: StudyState) -> int | None:
    return misleading(state.of(Role.SEARCH), state.losses, state.ladder)


def _doubt(state: StudyState) -> str | None:
    """Return why settings run whole from now on; None unless the next one is the first."""
    searched = state.of(Role.SEARCH)
    whole = [state.place(t) for t in searched if t.origin.endswith(RUN_WHOLE)]
    places = [*whole, len(searched)]
    best = state.best()
    if best is None or [place for place in places if not _due(place, WHOLE)] != places[-1:]:
        return None
    return (
        f"trial {best.number} is the best but was not in the best third at step "
        f"{_misleading(state)} of {state.target}: short runs mislead here, so every second new "
        "setting runs to its end"
    )


def _due(place: int, every: int) -> bool:
    return place % every == every - 1


def _rungs(policy: Policy, rungs: Ladder, place: int) -> Ladder:
    """Return the rungs of the trial with this number, unless it runs whole.

    The first trials skip the shortest rung: they show how long a full run takes. So does every 4th
    of the others, for tasks where the shortest runs rank settings in the wrong order.
    """
    hedged = policy.pruner == HALVING and _due(place, HEDGE)
    return rungs.from_safe() if hedged or place < essential(policy) else rungs


def first_stop(policy: Policy, rungs: Ladder, place: int) -> int:
    """Return where the trial with this number first stops, if no rung was found to mislead."""
    always = policy.pruner == HALVING and _due(place, WHOLE)
    return rungs.steps[-1] if always else _rungs(policy, rungs, place).first


def rungs_of(state: StudyState, trial: TrialRecord) -> Ladder:
    """Return the rungs at which a search trial is compared."""
    whole = trial.origin.endswith(RUN_WHOLE)
    return state.ladder.whole() if whole else _rungs(state.policy, state.ladder, state.place(trial))


def _at_rung(state: StudyState, trial: TrialRecord) -> bool:
    rungs = rungs_of(state, trial)
    return (
        trial.role is Role.SEARCH
        and trial.step in rungs.steps
        and trial.step >= rungs.first
        and trial.step in state.losses.get(trial.id, {})
    )


def _next_stop(state: StudyState, trial: TrialRecord) -> int:
    if trial.role is not Role.SEARCH:
        return trial.target
    return rungs_of(state, trial).above(trial.step)


def _busy(state: StudyState, role: Role) -> bool:
    return any(trial.role is role for trial in state.running())


def _search(state: StudyState, affordable: Affordable) -> Suggestion | None:
    """Promote a trial if the pruner says so, else try a new setting, else close the search."""
    return _promote(state, affordable) or try_new(state, affordable) or _close(state, affordable)


def _promote(state: StudyState, affordable: Affordable) -> Suggestion | None:
    pruner: Pruner = load("autotune.pruners", state.policy.pruner)
    promotion = pruner(state.of(Role.SEARCH), state.losses, state.ladder)
    if promotion is None:
        return None
    trial, stop = promotion
    suggestion = Suggestion(trial=trial, stop=stop)
    needed = closing(state, trial, stop) + reserved(state)
    return suggestion if affordable(_cost(state, suggestion), needed) else None


def may_try(state: StudyState, affordable: Affordable) -> bool:
    """Return whether a study has the budget for another setting."""
    tried, limit = len(state.of(Role.SEARCH)), state.policy.budget.trials
    if (limit is not None and tried >= limit) or stopping.reached(state):
        return False
    early = tried < essential(state.policy)
    needed = 0.0 if early else closing(state) + reserved(state)
    return affordable(next_part(state), needed)


def try_new(state: StudyState, affordable: Affordable) -> Suggestion | None:
    """Return a new setting to try, whatever could go on; None if there is none."""
    if state.searched or not may_try(state, affordable):
        return None
    whole, cost = _runs_whole(state), next_part(state)
    wider = widening.widened(state)
    known = replace(state, space=wider.space) if wider else state
    proposal = propose(known, whole=whole)
    notice = _doubt(state) if whole else None
    stop = round(cost * state.target)
    found = Suggestion(trial=None, proposal=proposal, stop=stop, wider=wider, notice=notice)
    return found if proposal else None


def _close(state: StudyState, affordable: Affordable) -> Suggestion | None:
    """Run the leaders to their end: only trials at full length can be finalists."""
    busy = [trial for trial in state.running() if trial.role is Role.SEARCH]
    if any(state.stops.get(trial.id) != state.target for trial in busy):
        return None  # it may still become a leader
    count = state.policy.finalists - len(busy)
    first = leaders(state.of(Role.SEARCH), state.losses, state.ladder, count)
    for place, trial in enumerate(first):
        # One finalist is needed in any case.
        needed = finals(state) if place or busy else 0.0
        suggestion = Suggestion(trial=trial, stop=state.target)
        if trial.state is TrialState.PAUSED and affordable(_cost(state, suggestion), needed):
            return suggestion
    return None


def closing(state: StudyState, moved: TrialRecord | None = None, to: int = 0) -> float:
    """Return the full runs that are needed to run the leaders to their end."""
    trials = state.of(Role.SEARCH)
    first = leaders(trials, state.losses, state.ladder, state.policy.finalists)
    steps = [to if moved and trial.id == moved.id else trial.step for trial in first]
    steps += [state.ladder.first] * (state.policy.finalists - len(first))
    return sum(state.target - step for step in steps) / state.target


def _select(state: StudyState) -> Suggestion | None:
    """Return the next run of the race's first lap, in which all finalists take part."""
    return next((_racing(trial, 0) for trial in racing.missing(state, 0)), None)


def _second_lap(state: StudyState, affordable: Affordable) -> Suggestion | None:
    """Return the next run of the second lap, if the budget can pay the whole lap."""
    winner = chosen(state)
    if winner is None or any(trial.source == winner for trial in state.of(Role.JUDGE)):
        return None
    missing = racing.missing(state, 1)
    judging = float(_to_judge(state, 0) + state.policy.seeds)
    if missing and affordable(float(len(missing)), judging):
        return _racing(missing[0], 1)
    return None


def _again(source: TrialRecord, role: Role, seed: int, origin: str) -> Suggestion:
    proposal = Proposal(
        role=role,
        origin=origin,
        setting=source.setting,
        seed=seed,
        target=source.target,
        source=source.number,
    )
    return Suggestion(trial=None, proposal=proposal, stop=source.target)


def _racing(trial: TrialRecord, lap: int) -> Suggestion:
    origin = "finalist" if trial.number else "default"
    return _again(trial, Role.SELECT, racing.SEEDS[lap], origin)


def rounds(state: StudyState) -> int:
    """Return on how many seeds a study has started all its judging runs."""
    return min(_judged(state, 0), _judged(state, chosen(state)))


def _judge_again(state: StudyState, affordable: Affordable) -> Suggestion | None:
    """Judge on more seeds while minutes are left: the number depends on time, never on losses."""
    if state.policy.budget.minutes is None:
        return None
    suggestion = _judge(state, MORE_SEEDS * state.policy.seeds)
    if suggestion is None or suggestion.proposal is None:
        return None
    # The default's run on a seed is useless without the tuned setting's run on it.
    pair = suggestion.proposal.source == 0 and chosen(state) != 0
    return suggestion if affordable(1.0, 1.0 if pair else 0.0) else None


def _judge(state: StudyState, seeds: int) -> Suggestion | None:
    """Return the next judging run: winner and default on seeds that no other stage used."""
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
