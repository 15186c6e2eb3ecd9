"""What a remote worker tells of the trial that it holds: checked, stored, and answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autotune.errors import AlreadyThere, LeaseLost, SpecError
from autotune.pruners.ladder import rungs_of
from autotune.scheduler import going_on
from autotune.studies.attempts import KILLED, LOST
from autotune.studies.records import (
    Command,
    Gradient,
    Point,
    SearchState,
    TrialRecord,
    TrialState,
)
from autotune.studies.remote import Lease, Saved, Telling
from autotune.studies.spec import ASKED, parse
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
    Told.REACHED: frozenset({TrialState.PAUSED, TrialState.COMPLETE, TrialState.STOPPED}),
    Told.DIVERGED: frozenset({TrialState.DIVERGED}),
    Told.FAILED: frozenset({TrialState.FAILED}),
    Told.INTERRUPTED: frozenset({KILLED, TrialState.STOPPED}),  # nothing is left to give back
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
    return tuple(step for step in steps if lease.trial.step < step <= until(lease))


def until(lease: Lease) -> int:
    """Return the step that its worker trains to, if it hears nothing else."""
    return lease.stop if lease.pauses else lease.trial.target


def furthest(lease: Lease) -> int:
    """Return the last step that may be told of now.

    A command of the search's own may be beyond its stop before it is heard of, as in every engine.
    """
    return lease.stop if lease.spec.get("engine") == ASKED else lease.trial.target


def order(lease: Lease, losses: Losses) -> Order:
    """Return what the worker of a lease is to do after these losses."""
    if lease.outcome == TrialState.STOPPED:
        return Order.STOP
    if lease.stop in losses and (lease.pauses or lease.stop >= lease.trial.target):
        return Order.STOP if lease.stop >= lease.trial.target else Order.PAUSE
    minutes = parse(dict(lease.spec)).budget.resolved.minutes
    late = minutes is not None and lease.spent > minutes * 60
    over = lease.state is SearchState.COMPLETE or lease.command is not Command.CONTINUE
    return Order.LEAVE if late or over else Order.CONTINUE


def undecided(lease: Lease, losses: Losses) -> bool:
    """Return whether it has to be decided now whether a trial that cannot pause goes on."""
    at_rung = lease.stop in losses and lease.stop < lease.trial.target
    return at_rung and not lease.pauses and lease.outcome is None


def stop(told: Telling) -> TrialRecord:
    """End a trial at its rung, for good; raises LeaseLost where the lease is over."""
    refuse_ended(told.lease)
    reason = going_on.ended(told.lease.stop, told.lease.trial.target)
    return _end_at(told, told.lease.stop, TrialState.STOPPED, reason)


def measured(store: Store, lease: Lease) -> dict[int, float]:
    """Return the losses that were told in a lease, by step."""
    losses = _losses(store.curve(lease.trial.id))
    return {step: loss for step, loss in losses.items() if step > lease.trial.step}


def refuse_ended(lease: Lease) -> None:
    """Raise LeaseLost where a lease is over, but for one that the service itself ended."""
    if lease.outcome in {None, TrialState.STOPPED}:
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


def add(
    told: Telling,
    points: Sequence[Point],
    saved: Saved | None = None,
    *,
    lost: bool = False,
    measured: Sequence[Gradient] = (),
) -> Losses:
    """Store measurements, and where the trial's state is kept; return the losses of this lease.

    A measurement that comes twice is stored once.

    Args:
        told: The lease, held.
        points: The measurements.
        saved: Where the state is kept.
        lost: The state that was saved before cannot be read.
        measured: What was measured of gradients.

    Raises:
        LeaseLost: The lease is over; nothing is stored.
        SpecError: The measurements cannot follow those before; nothing is stored.
    """
    lease = told.lease
    refuse_ended(lease)
    _check_steps(lease, points, told.curve)
    _check_gradients(lease, measured)
    own = {**_own(told), **_losses(p for p in points if p.step > lease.trial.step)}
    if lease.outcome is not None:  # it was told to stop, and these are told again
        return own
    last = max((point.step for point in points), default=0)
    _refuse_missing(lease, own, max(last, saved.step if saved else 0))
    if saved is not None:
        _check_saved(lease, saved)
    kept = saved if saved is not None and 0 < saved.step < lease.trial.target else None
    told.add(points, kept, lost=lost, measured=measured)
    return own


def end(told: Telling, ending: End) -> TrialRecord:
    """End a lease and return its trial; told twice, it is ended once.

    Raises:
        LeaseLost: It was over already, without its worker.
        AlreadyThere: It was ended otherwise.
        SpecError: A loss is missing.
    """
    lease, trial, outcome = told.lease, told.lease.trial, ending.outcome
    if lease.outcome in _OUTCOMES[outcome]:
        return trial
    if lease.outcome is not None and lease.outcome != LOST:
        raise AlreadyThere(
            f"attempt {lease.attempt} at {lease.who} was ended as {_word(lease.outcome)}, "
            f"got {outcome}: a lease is ended once"
        )
    refuse_ended(lease)
    if outcome is Told.INTERRUPTED:
        return told.give_back(ending.reason or "its worker was interrupted")
    own = _own(told)
    if outcome is Told.REACHED:
        return _reach(told, ending, own)
    step = max(own, default=trial.step) if ending.step is None else ending.step
    if not 0 <= step <= furthest(lease):
        raise SpecError(f"{lease.who} trains until step {lease.stop} now, got step {step}")
    state = TrialState.DIVERGED if outcome is Told.DIVERGED else TrialState.FAILED
    return told.end(state, step, ending.reason or f"its worker said that it {outcome}")


def _reach(told: Telling, ending: End, own: Losses) -> TrialRecord:
    """End a lease whose last step was taken."""
    lease, stop = told.lease, told.lease.stop
    if ending.step is not None and stop < ending.step <= furthest(lease):
        stop = ending.step
    if ending.step not in {None, stop}:
        raise SpecError(
            f"{lease.who} has to train until step {stop} to be ended as reached, got step "
            f"{ending.step}; end it as interrupted or failed, or train on"
        )
    _refuse_missing(lease, own, stop)
    state = TrialState.PAUSED if lease.pauses else TrialState.STOPPED
    state = TrialState.COMPLETE if stop >= lease.trial.target else state
    return _end_at(told, stop, state, ending.reason)


def _end_at(told: Telling, step: int, state: TrialState, reason: str | None) -> TrialRecord:
    # Measured by an earlier attempt where that saved its last step.
    last = told.curve.get(step, Point(step=step, seconds=0.0))
    return told.end(state, step, reason, loss=last.loss, accuracy=last.accuracy)


def _own(told: Telling) -> dict[int, float]:
    """Return the losses that were told in a lease, by step."""
    losses = _losses(told.curve.values())
    return {step: loss for step, loss in losses.items() if step > told.lease.trial.step}


def _losses(points: Iterable[Point]) -> dict[int, float]:
    return {point.step: point.loss for point in points if point.loss is not None}


def _check_steps(lease: Lease, points: Sequence[Point], known: Mapping[int, Point]) -> None:
    """Refuse steps beyond the stop, and new ones before the last that was measured."""
    last = max((step for step in known if step > lease.trial.step), default=0)
    for point in points:
        if point.step > furthest(lease):
            _refuse_unasked(lease, point.step)
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


def _check_gradients(lease: Lease, measured: Sequence[Gradient]) -> None:
    """Refuse what nobody asked for, or of steps that are not taken now."""
    if measured and not (lease.spec.get("record_norms") or lease.spec.get("measure_noise")):
        raise SpecError(
            f"search '{lease.search}' keeps nothing of gradients, as it was begun without "
            "--record-norms and --measure-noise; leave 'gradients' out"
        )
    last = max((one.step for one in measured), default=0)
    if last > furthest(lease):
        raise SpecError(
            f"{lease.who} trains until step {lease.stop} now (stop_at), got gradients of step "
            f"{last}"
        )


def _refuse_unasked(lease: Lease, step: int) -> None:
    """Refuse a step beyond a rung at which it is decided whether a trial goes on."""
    if lease.pauses or lease.stop >= lease.trial.target:
        return
    over = f"was told to stop at step {lease.stop}, got a loss of step {step}; end the lease"
    asked = (
        f"is asked at step {lease.stop} whether it goes on, got a loss of step {step}: tell the "
        "loss of that step and train on only where the answer says 'continue'"
    )
    raise SpecError(f"{lease.who} {asked if lease.outcome is None else over}")


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
    if not 0 <= saved.step <= furthest(lease):
        raise SpecError(
            f"{lease.who} trains until step {lease.stop} now (stop_at), got a state of step "
            f"{saved.step}"
        )


def _word(outcome: str) -> str:
    """Return what a worker calls an outcome of the store."""
    return next((told for told, ends in _OUTCOMES.items() if outcome in ends), outcome)
