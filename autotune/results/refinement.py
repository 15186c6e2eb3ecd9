"""What became of a refined schedule: is the tuned setting better by it than by its own?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from autotune.results.intervals import Estimate, paired, verdict
from autotune.results.validation import Longer, longer, sources
from autotune.studies import validations
from autotune.studies.records import SearchRecord, SearchState
from autotune.studies.store import Store
from autotune.studies.validations import Refined, ValidationRecord

REFINED = "refined"  # the entrant with the table; the other one is as the search had it
SOURCE = "Defazio et al. 2023 (arXiv:2310.07831)"


class Gain(StrEnum):
    """What a refined schedule does to the tuned setting's loss."""

    BETTER = "better"
    LEVEL = "no significant difference"
    WORSE = "worse"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """A refined schedule and its runs beside those of the original one, as far as they went.

    Args:
        number: Of the validation of the search that it is.
        search: The search's name.
        optimizer: Whose tuned setting it is for.
        source: Number of the search trial that first ran that setting.
        latest: Whether the search still recommends that setting.
        steps: Steps of a run.
        origin: What the schedule was refined from.
        table: Factors on lr at equal distances over the run, the first at the first step.
        complete: Whether the runs reached the end of their budget.
        runs: Full runs that were spent.
        refined: Results by the table.
        original: Results by the schedule of the search.
        difference: Loss by the table less loss by the original, paired by seed.
        gain: What follows.
        doubts: What may not hold for this optimizer.
    """

    number: int
    search: str
    optimizer: str
    source: int
    latest: bool
    steps: int
    origin: Refined
    table: tuple[float, ...]
    complete: bool
    runs: float
    refined: Longer
    original: Longer
    difference: Estimate | None
    gain: Gain
    doubts: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """What may be concluded."""
        marks = [] if self.complete else ["not finished"]
        marks += [] if self.latest else [f"of an earlier setting, trial {self.source}"]
        mark = f" ({'; '.join(marks)})" if marks else ""
        # The difference alone says the gain in its own first words where there is none.
        gain = "" if self.gain is Gain.LEVEL else f"{self.gain}: "
        who = f"{self.optimizer}, refined schedule at {self.steps} steps"
        return (f"{who}: {gain}{self._why()}{mark}",)

    @property
    def provenance(self) -> str:
        """What the table comes from, as a sentence for those who read it elsewhere."""
        origin = self.origin
        return (
            f"refined from the {origin.norm} gradient norms of trial {origin.trial}, smoothed over "
            f"{origin.tau:.4g} of the run; {SOURCE}"
        )

    def _why(self) -> str:
        ours, theirs = "the refined schedule", "the original one"
        for name, one in ((ours, self.refined), (theirs, self.original)):
            if one.failures:
                ran = len(one.failures) + len(one.losses)
                return f"{name} failed on {len(one.failures)} of {ran} seeds ({one.failures[0]})"
        return verdict(self.difference, ours, theirs)


def load(store: Store, search: SearchRecord) -> tuple[Refinement, ...]:
    """Return the refined schedules of a search, the oldest first."""
    return drawn(store, search, validations.of(store, search.id), sources(store, search))


def drawn(
    store: Store,
    search: SearchRecord,
    known: Iterable[ValidationRecord],
    recommended: Mapping[str, int],
) -> tuple[Refinement, ...]:
    """Return the refined schedules among the validations of a search, in their order.

    ``recommended``: as ``validation.sources`` returns it.
    """
    return tuple(
        _loaded(store, one, one.plan.refined, search.name, recommended)
        for one in known
        if one.plan.refined is not None
    )


def _loaded(
    store: Store,
    record: ValidationRecord,
    origin: Refined,
    search: str,
    recommended: Mapping[str, int],
) -> Refinement:
    plan, stage = record.plan, record.stage
    trials = [trial for study in stage.studies for trial in store.trials(study.id)]
    found = {each.which: longer(each, trials) for each in plan.entrants}
    refined, original = found[REFINED], found["tuned"]
    difference = paired(refined.losses, original.losses)
    return Refinement(
        number=record.number,
        search=search,
        optimizer=plan.optimizer,
        source=plan.source,
        latest=recommended.get(plan.optimizer) == plan.source,
        steps=plan.steps,
        origin=origin,
        table=next(each.schedule for each in plan.entrants if each.which == REFINED),
        complete=stage.state is SearchState.COMPLETE,
        runs=sum(trial.step / trial.target for trial in trials),
        refined=refined,
        original=original,
        difference=difference,
        gain=_gain(refined, original, difference),
        doubts=plan.doubts,
    )


def _gain(refined: Longer, original: Longer, difference: Estimate | None) -> Gain:
    """Return what follows; a run that diverged is a result, one that failed says nothing."""
    if refined.failures:
        return Gain.WORSE if refined.diverged and original.losses else Gain.UNKNOWN
    if original.failures:
        return Gain.BETTER if original.diverged and len(refined.losses) > 1 else Gain.UNKNOWN
    if difference is None or difference.low is None or difference.high is None:
        return Gain.UNKNOWN
    if difference.high < 0:
        return Gain.BETTER
    return Gain.WORSE if difference.low > 0 else Gain.LEVEL
