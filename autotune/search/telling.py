"""What a remote worker tells of the trial that it holds: checked, stored, and answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autotune.errors import AlreadyThere, LeaseLost, SpecError
from autotune.pruners.ladder import rungs_of
from autotune.studies import remote
from autotune.studies.attempts import KILLED, LOST
from autotune.studies.records import Command, Point, SearchState, TrialRecord, TrialState
from autotune.studies.remote import Lease, Saved
from autotune.studies.spec import parse
from autotune.studies.store import Store

Losses = Mapping[int, float]  # by step


class Told(StrEnum):
    """How a remote worker says that its part of a trial ended."""

    REACHED = "reached"  # its last step was taken
    DIVERGED = "diverged"  # a loss that is not finite, or out of memory
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # it was told to leave, or has to: nobody's fault


class Order(StrEnum):
    """What a remote worker is to do next."""

    CONTINUE = "continue"  # train on
    PAUSE = "pause"  # end this lease as reached; the trial may go on in a later one
    STOP = "stop"  # end this lease as reached; the trial is over
    LEAVE = "save-and-leave"  # save, end this lease as interrupted and ask again later


# What the store calls an attempt that ended so.
_OUTCOMES: Mapping[Told, frozenset[str]] = {
    Told.REACHED: frozenset({TrialState.PAUSED, TrialState.COMPLETE}),
    Told.DIVERGED: frozenset({TrialState.DIVERGED}),
    Told.FAILED: frozenset({TrialState.FAILED}),
    Told.INTERRUPTED: frozenset({KILLED}),
}


@dataclass(frozen=True, kw_only=True)
class End:
    """How a lease is ended.

    Args:
        outcome: How.
        step: Steps taken; None: the last one measured.
        reason: Why, in words.
    """

    outcome: Told
    step: int | None = None
    reason: str | None = None


def evaluate(lease: Lease) -> tuple[int, ...]:
    """Return the steps at which a trial has to be measured now."""
    steps = rungs_of(lease.task).steps
    return tuple(step for step in steps if lease.trial.step < step <= lease.stop)


def order(lease: Lease, losses: Losses) -> Order:
    """Return what the worker of a lease is to do after these losses."""
    if lease.stop in losses:
        return Order.STOP if lease.stop >= lease.trial.target else Order.PAUSE
    minutes = parse(dict(lease.spec)).budget.resolved.minutes
    late = minutes is not None and lease.spent > minutes * 60
    over = lease.state is SearchState.COMPLETE or lease.command is not Command.CONTINUE
    return Order.LEAVE if late or over else Order.CONTINUE


def measured(store: Store, lease: Lease) -> dict[int, float]:
    """Return the losses that were told in a lease, by step."""
    losses = _losses(store.curve(lease.trial.id))
    return {step: loss for step, loss in losses.items() if step > lease.trial.step}


def refuse_ended(lease: Lease) -> None:
    """Raise LeaseLost where a lease is over."""
    if lease.outcome is None:
        return
    after = ""
    if lease.newest != lease.attempt:
        after = f", attempt {lease.newest} took its place"
    elif lease.outcome == LOST:
        after = f": worker {lease.worker} was not heard of in time"
    raise LeaseLost(
        f"attempt {lease.attempt} at {lease.who} of search '{lease.search}' is over{after}; "
        "nothing more of it is stored"
    )


def add(store: Store, lease: Lease, points: Sequence[Point], saved: Saved | None = None) -> Losses:
    """Store measurements, and where the trial's state is kept; return the losses of this lease.

    A measurement that comes twice is stored once.

    Raises:
        LeaseLost: The lease is over; nothing is stored.
        SpecError: The measurements cannot follow those before; nothing is stored.
    """
    refuse_ended(lease)
    known = {p.step: p for p in store.curve(lease.trial.id)}
    _check_steps(lease, points, known)
    losses = {**_losses(known.values()), **_losses(points)}
    own = {step: loss for step, loss in losses.items() if step > lease.trial.step}
    told = max((point.step for point in points), default=0)
    _refuse_missing(lease, own, max(told, saved.step if saved else 0))
    if saved is not None:
        _check_saved(lease, saved)
    store.add_points(lease.trial.id, lease.attempt, points)
    if saved is not None and 0 < saved.step < lease.trial.target:
        remote.save(store, lease, saved)
    return own


def end(store: Store, lease: Lease, ending: End) -> TrialRecord:
    """End a lease and return its trial; told twice, it is ended once.

    Raises:
        LeaseLost: It was over already, without its worker.
        AlreadyThere: It was ended otherwise.
        SpecError: A loss is missing.
    """
    trial, told = lease.trial, ending.outcome
    if lease.outcome in _OUTCOMES[told]:
        return trial
    if lease.outcome is not None and lease.outcome != LOST:
        raise AlreadyThere(
            f"attempt {lease.attempt} at {lease.who} was ended as {_word(lease.outcome)}, "
            f"got {told}: a lease is ended once"
        )
    refuse_ended(lease)
    if told is Told.INTERRUPTED:
        reason = ending.reason or "its worker was interrupted"
        return store.lose(trial.id, lease.attempt, reason, blame=False)
    own = measured(store, lease)
    if told is Told.REACHED:
        return _reach(store, lease, ending, own)
    step = max(own, default=trial.step) if ending.step is None else ending.step
    if not 0 <= step <= lease.stop:
        raise SpecError(f"{lease.who} trains until step {lease.stop} now, got step {step}")
    state = TrialState.DIVERGED if told is Told.DIVERGED else TrialState.FAILED
    reason = ending.reason or f"its worker said that it {told}"
    return store.record(
        trial.id, lease.attempt, state=state, step=step, seconds=_seconds(lease), reason=reason
    )


def _reach(store: Store, lease: Lease, ending: End, own: Losses) -> TrialRecord:
    """End a lease whose last step was taken."""
    stop = lease.stop
    if ending.step not in {None, stop}:
        raise SpecError(
            f"{lease.who} has to train until step {stop} to be ended as reached, got step "
            f"{ending.step}; end it as interrupted or failed, or train on"
        )
    _refuse_missing(lease, own, stop)
    whole = stop >= lease.trial.target
    curve = {point.step: point for point in store.curve(lease.trial.id)}
    return store.record(
        lease.trial.id,
        lease.attempt,
        state=TrialState.COMPLETE if whole else TrialState.PAUSED,
        step=stop,
        loss=curve[stop].loss,  # measured by an earlier attempt where that saved its last step
        accuracy=curve[stop].accuracy,
        seconds=_seconds(lease),
        reason=ending.reason,
    )


def _seconds(lease: Lease) -> float:
    """Return the seconds of an attempt."""
    return max(0.0, lease.seconds)


def _losses(points: Iterable[Point]) -> dict[int, float]:
    return {point.step: point.loss for point in points if point.loss is not None}


def _check_steps(lease: Lease, points: Sequence[Point], known: Mapping[int, Point]) -> None:
    """Refuse steps beyond the stop, and new ones before the last that was measured."""
    last = max((step for step in known if step > lease.trial.step), default=0)
    for point in points:
        if point.step > lease.stop:
            raise SpecError(
                f"{lease.who} trains until step {lease.stop} now (stop_at), got a loss of step "
                f"{point.step}: stop there, it may go on in a later lease"
            )
        if point.step <= last and point.step not in known:
            raise SpecError(
                f"{lease.who}: steps of losses have to rise: step {last} was the last one "
                f"measured, got step {point.step}"
            )
        last = max(last, point.step)


def _refuse_missing(lease: Lease, losses: Losses, to: int) -> None:
    """Refuse to go beyond a step at which the loss was not measured."""
    missing = [step for step in evaluate(lease) if step <= to and step not in losses]
    if missing:
        steps = ", ".join(map(str, missing))
        raise SpecError(
            f"{lease.who} has to be measured at step{'s' * (len(missing) > 1)} {steps} as well: "
            "tell a loss for every step of evaluate_at"
        )


def _check_saved(lease: Lease, saved: Saved) -> None:
    if not 0 <= saved.step <= lease.stop:
        raise SpecError(
            f"{lease.who} trains until step {lease.stop} now (stop_at), got a state of step "
            f"{saved.step}"
        )


def _word(outcome: str) -> str:
    """Return what a worker calls an outcome of the store."""
    return next((told for told, ends in _OUTCOMES.items() if outcome in ends), outcome)
