"""What every pruner has to do; a plugin subclasses ``PrunerContract`` in its tests."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.pruners.base import Pruner
from autotune.pruners.ladder import Ladder, Losses
from autotune.studies.records import TrialRecord, TrialState
from autotune.testing.expect import expect, same
from autotune.testing.trials import search_trial

RUNGS = Ladder(steps=(3, 9, 27, 81), first=3)


def study(*curves: Sequence[float]) -> tuple[list[TrialRecord], dict[int, dict[int, float]]]:
    """Return trials that reached the rungs of their curves, and the curves."""
    steps, trials = RUNGS.steps, []
    for number, curve in enumerate(curves):
        over = len(curve) == len(steps)
        state = TrialState.COMPLETE if over else TrialState.PAUSED
        trials.append(search_trial(number, step=steps[len(curve) - 1], state=state, loss=curve[-1]))
    return trials, {
        100 + number: dict(zip(steps, curve, strict=False)) for number, curve in enumerate(curves)
    }


def going(pruner: Pruner, trials: Sequence[TrialRecord], losses: Losses) -> tuple[int, int] | None:
    """Return the number of who goes on, and to which step."""
    found = pruner(trials, losses, RUNGS)
    return (found[0].number, found[1]) if found else None


class PrunerContract:
    """Tests of one pruner; a subclass gives the fixture ``pruner``."""

    def test_nobody_goes_on_where_nobody_waits(self, pruner: Pruner) -> None:
        """Ask with a trial that is over, and with none."""
        same("who goes on of one that is over", going(pruner, *study([1.0] * 4)), None)
        same("who goes on of none", going(pruner, [], {}), None)

    def test_who_goes_on_is_one_that_waits_at_a_rung(self, pruner: Pruner) -> None:
        """Ask with trials of every kind."""
        trials, losses = study(*[[1.0 + n / 10] * (1 + n % 4) for n in range(16)])
        trials.append(search_trial(16, step=5, state=TrialState.PAUSED))  # between two rungs
        trials.append(search_trial(17, step=2, state=TrialState.DIVERGED))
        trials.append(search_trial(18, step=2, state=TrialState.FAILED))
        trials.append(search_trial(19, step=3, state=TrialState.RUNNING))
        first = going(pruner, trials, losses)
        same("a second answer", going(pruner, trials, losses), first)
        if first is not None:
            number, stop = first
            same(f"the state of trial {number}", trials[number].state, TrialState.PAUSED)
            expect(trials[number].step in RUNGS.steps, f"trial {number} waits at no rung")
            same("the step it goes on to", stop, RUNGS.above(trials[number].step))
