"""A setting with its evidence: what was found, on which task, how certain, and warnings.

Every export is made from this record only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from autotune.environment import SCHEDULES
from autotune.errors import NothingUsable, SpecError
from autotune.optimizers.options import FILTERS
from autotune.optimizers.registry import schedule
from autotune.registry import foreign
from autotune.results import comparison, noise, refinement
from autotune.results.chosen import Chosen, judged_of, row_of, single
from autotune.results.comparison import Comparison, Row
from autotune.results.intervals import CONFIDENCE, Estimate, estimate
from autotune.results.refinement import Refinement
from autotune.scheduler import widening
from autotune.studies.earlier import added, unequal
from autotune.studies.records import (
    NO_SEED,
    SearchRecord,
    StudyRecord,
    TrialRecord,
    mixed,
    own_data,
    own_image_size,
    own_loop,
)
from autotune.studies.store import Store
from autotune.transfer.base import Change

SCHEMA_VERSION = 1
ENOUGH_SEEDS = 3

# The others keep decay out of gradients.
_L2 = frozenset({"adam", "adam-sf", "adam-win", "adam-win2", "sgd"})
_LEFT = frozenset({"nema", *FILTERS})  # endings of names that leave decay where it was


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning-rate schedule: linear warm-up, then a cosine to a fraction of the peak.

    With type 'constant' the rate stays at its peak instead, for optimizers that average. With type
    'table' the peak is multiplied by the table's values instead, which lie at equal distances over
    the run: the first at its first step, the last at its last, linear between them. ``origin`` says
    where a table comes from, ``verdict`` whether it is better than the schedule of the search.
    """

    type: str = "cosine"
    warmup_fraction: float
    final_lr_fraction: float = 0.0
    table: tuple[float, ...] = ()
    origin: str = ""
    verdict: str = ""


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What the numbers mean, for use in another implementation."""

    betas: str = "fraction kept, close to one (papers print one minus these)"
    weight_decay: str = "multiplied by lr"
    undecayed: str = "parameters with ndim <= 1"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was measured; the bounds of an interval are None for a single seed."""

    metric: str = "validation loss"
    confidence: float = CONFIDENCE
    loss: Estimate
    accuracy: Estimate | None
    seeds: tuple[int, ...]  # indices of the seeds behind ``loss``
    default: Estimate | None  # loss of the optimizer's default setting on the same seeds
    difference: Estimate | None  # loss - default, paired by seed
    verdict: str
    reference_verdict: str | None  # against tuned AdamW
    trials: int  # of this optimizer in all stages
    full_runs: float
    reference: str = "its default"  # what ``default`` is the loss of


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the setting comes from."""

    search: str
    trial: int | None  # number of the trial that first ran the setting, if stored
    origin: str  # what proposed it
    created: str  # last change of the search, ISO 8601
    environment: Mapping[str, Any]  # versions and machine


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """One setting with everything that an export says about it."""

    schema_version: int = SCHEMA_VERSION
    optimizer: str  # registry name
    hyper: Mapping[str, Any]  # keyword arguments of autotune.optimizers.create
    schedule: Schedule
    conventions: Conventions
    tuned_on: Mapping[str, Any]  # facts of the task
    evidence: Evidence
    warnings: tuple[str, ...] = ()
    provenance: Provenance
    space: Mapping[str, Any] = field(default_factory=dict)  # where it was found, as plain data
    target: Mapping[str, Any] = field(default_factory=dict)  # the run it is for; empty: as searched
    changes: tuple[Change, ...] = ()  # what rules restated for it
    longer: tuple[str, ...] = ()  # what became of it in longer runs; empty: not tried
    noise_scale: float | None = None  # samples; None: not measured
    noise_origin: str = ""  # how it was measured

    def __post_init__(self) -> None:
        """Refuse numbers that are not finite."""
        for name, value in self.hyper.items():
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    raise SpecError(f"{name} must be finite to be exported, got {number}")

    @property
    def warmup(self) -> float:
        """Fraction of the schedule that is warm-up."""
        return self.schedule.warmup_fraction


def as_data(tuned: Tuned) -> dict[str, Any]:
    """Return a record as plain data; what only some have is left out of the others."""
    data = asdict(tuned)
    if not tuned.schedule.table:
        for name in ("table", "origin", "verdict"):
            del data["schedule"][name]
    if tuned.noise_scale is None:
        del data["noise_scale"], data["noise_origin"]
    return data


def tuned(
    store: Store,
    search_name: str,
    optimizer: str | None = None,
    which: str = "tuned",
    trial: int | None = None,
) -> Tuned:
    """Return a setting of a stored search; raises NotFound or NothingUsable.

    Args:
        store: Where the search is stored.
        search_name: Its name.
        optimizer: One of its optimizers; None takes the one with the lowest tuned mean.
        which: "tuned" or "default".
        trial: Number of a single trial to take instead.
    """
    found = comparison.load(store, search_name)
    row = row_of(found, optimizer, trial)
    trials = store.trials(study_of(found, row).id)
    if trial is None:
        chosen = judged_of(found.search, row, which, trials)
    else:
        chosen = single(found.search, row, trials, trial)
    return recorded(store, found, row, chosen, trials)


def study_of(found: Comparison, row: Row) -> StudyRecord:
    """Return the study that a row is of."""
    return next(s for s in found.search.studies if s.optimizer == row.optimizer)


def recorded(
    store: Store, found: Comparison, row: Row, chosen: Chosen, trials: Sequence[TrialRecord]
) -> Tuned:
    """Return a setting as a record, with the noise of its runs and what longer ones gave."""
    record = _record(found.search, row, study_of(found, row), chosen)
    measured = noise.load(store, trials, chosen.setting)
    if measured is not None and measured.scale is not None:
        origin = f"{measured.origin}; {noise.SOURCE}"
        record = replace(record, noise_scale=measured.scale, noise_origin=origin)
    return replace(record, longer=tuple(_longer(found, record)))


def by_refined_schedule(store: Store, record: Tuned) -> Tuned:
    """Return a record with the newest schedule that was refined for its setting.

    Raises:
        NothingUsable: None was, or the runs that tell whether it is better have not ended.
    """
    search = record.provenance.search
    known = refinement.load(store, store.search(search))
    found = [one for one in known if one.complete and _is_of(one, record)]
    if not found:
        raise NothingUsable(
            f"no schedule was refined for this setting of {record.optimizer} in search "
            f"'{search}'; refine one by: autotune refine {search}/{record.optimizer}"
        )
    newest = found[-1]
    refined = Schedule(
        type="table",
        warmup_fraction=0.0,
        table=newest.table,
        origin=newest.provenance,
        verdict="; ".join(newest.sentences),
    )
    return replace(record, schedule=refined)


def _is_of(one: Refinement, record: Tuned) -> bool:
    """Return whether a schedule was refined for a record's setting."""
    setting = one.original.setting
    hyper = {name: _value(value) for name, value in setting.hyper.items()}
    own = (record.optimizer, dict(record.hyper), record.warmup)
    return (one.optimizer, hyper, setting.warmup) == own


def _longer(found: Comparison, record: Tuned) -> Iterator[str]:
    """Yield what was concluded of this very setting in longer runs, the newest first."""
    number = record.provenance.trial
    for one in reversed(found.validations):
        if (one.optimizer, one.source) == (record.optimizer, number):
            yield from one.sentences


def _schedule(search: SearchRecord, optimizer: str, warmup: float) -> Schedule:
    """Return the schedule that an optimizer was trained with; another package's may be missing."""
    shape = search.environment.get(SCHEDULES, {}).get(optimizer) or schedule(optimizer)
    end = 1.0 if shape == "constant" else 0.0
    return Schedule(type=shape, warmup_fraction=warmup, final_lr_fraction=end)


def _record(search: SearchRecord, row: Row, study: StudyRecord, chosen: Chosen) -> Tuned:
    return Tuned(
        optimizer=row.optimizer,
        hyper={name: _value(value) for name, value in chosen.setting.hyper.items()},
        schedule=_schedule(search, row.optimizer, chosen.setting.warmup),
        conventions=Conventions(weight_decay=_decay_convention(row.optimizer)),
        tuned_on=dict(search.task),
        evidence=_evidence(row, chosen),
        warnings=tuple(_warnings(search, row, study, chosen)),
        provenance=Provenance(
            search=search.name,
            trial=chosen.number,
            origin=chosen.origin,
            created=search.created.isoformat(timespec="seconds"),
            environment=dict(search.environment),
        ),
        space={name: list(entry) for name, entry in study.space.items()},
    )


def _value(value: Any) -> Any:
    """Turn betas from a JSON list back into a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _decay_convention(optimizer: str) -> str:
    if foreign(optimizer):
        return f"as {optimizer} applies its weight_decay"
    base, _, ending = optimizer.rpartition("-")
    if (base if ending in _LEFT else optimizer) in _L2:
        return "added to the gradient (L2)"
    if optimizer.startswith("lamb"):
        return "added to the update before the trust ratio, then multiplied by lr"
    return "multiplied by lr"


def _evidence(row: Row, chosen: Chosen) -> Evidence:
    return Evidence(
        loss=estimate(list(chosen.losses.values())),
        accuracy=chosen.accuracy,
        seeds=tuple(sorted(chosen.losses.keys() - {NO_SEED})),
        default=row.default.loss,
        difference=chosen.difference,
        verdict=chosen.verdict,
        reference_verdict=chosen.reference_verdict,
        trials=row.trials,
        full_runs=row.runs,
        reference=row.default.called,
    )


def _warnings(search: SearchRecord, row: Row, study: StudyRecord, chosen: Chosen) -> Iterator[str]:
    yield from chosen.caveats
    yield from filter(None, [mixed(search.task), unequal(search.spec), added(search.studies)])
    if row.nothing_learned:
        yield row.nothing_learned
    yield from widening.warnings(chosen.setting.params, study.space)
    seeds = len(chosen.losses)
    if seeds < ENOUGH_SEEDS:
        noun = "seed" if seeds == 1 else "seeds"
        yield f"only {seeds} {noun}, fewer than {ENOUGH_SEEDS}: the ranking may be luck"
    yield horizon(search.task, row.optimizer)


def _unknown(task: Mapping[str, Any]) -> str:
    """Say that a batch's size is not known where the user could state it."""
    if not own_data(task) or own_loop(task):
        return ""
    return " at a batch size that its tensors do not tell (state it: Problem(batch_size=...))"


def horizon(task: Mapping[str, Any], optimizer: str) -> str:
    """Say over how short a run a setting was found, where nothing was restated for a longer one."""
    batch = f" at batch size {task['batch_size']}" if "batch_size" in task else _unknown(task)
    own = own_image_size(task)
    pixels = f" on images of {task['image_size']} pixels a side, not {own}" if own else ""
    if optimizer.startswith("sgd"):
        rule = "lr of SGD scales with the batch ratio, up to a threshold"
    elif foreign(optimizer):
        rule = "how depends on its method"
    else:
        rule = "on small tasks it did best as it is, up to 4x the batch and 10x the steps"
    return (
        f"tuned over {task.get('steps', 'few')} steps{batch}{pixels}: re-tune or re-check lr when "
        f"these change ({rule}; autotune validate measures longer runs)"
    )
