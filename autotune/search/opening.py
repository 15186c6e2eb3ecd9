"""Start a search, or find a stored one and continue it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotune import devices, environment
from autotune.config import check_names
from autotune.devices import AUTO, CPU, Device
from autotune.engines import from_spec, lines, measuring
from autotune.errors import NotFound, SpecError
from autotune.pruners.ladder import Ladder, rungs_of
from autotune.registry import load
from autotune.scheduler.full_runs import check_budget
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.search import controlling, delete, earlier, foreign, options, words
from autotune.search.carried import task_arguments
from autotune.search.changes import another, changed_since
from autotune.search.device import KINDS, MIX, as_here, computed, computing, device_of
from autotune.search.facts import KEPT_FACTS
from autotune.search.growth import Growth, growth
from autotune.search.stored import refuse_other_kind
from autotune.search.turns import merge
from autotune.space.presets import over_runs, presets_of, spaces_of
from autotune.space.spaces import Space
from autotune.studies.records import SearchRecord, SearchState
from autotune.studies.spec import SearchSpec, parse
from autotune.studies.store import Store
from autotune.tasks import precision
from autotune.tasks.base import LOOP, Measurement, Shortest, Task
from autotune.tasks.command import ARGS
from autotune.tasks.rehearsal import refuse_percent
from autotune.tasks.resolve import movable, placed, resolve
from autotune.tasks.script import is_own
from autotune.tasks.surroundings import Surroundings
from autotune.tasks.training import has_bfloat16

SHORTENED = "shortened_from"  # fact of a task: what it was before minutes made it smaller


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is known of a search before any trial.

    Args:
        facts: Facts of its task.
        spaces: Spaces by optimizer.
        measured: What a first validation batch of a user's task gave.
        shortest: How small a run of the task may become; None if it may not be shortened.
    """

    facts: dict[str, Any]
    spaces: dict[str, Space]
    measured: Measurement | None = None
    shortest: Shortest | None = None


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A search ready to run."""

    search: SearchRecord
    states: tuple[StudyState, ...]
    resumed: int  # trials that were already stored
    finished: bool  # nothing is left to do for this budget
    revision: int = -1  # of the search when the states were read


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A checked search, before anything of it is stored.

    Args:
        spec: What to search.
        facts: Facts of its task.
        spaces: Spaces by optimizer.
        ladder: The rungs of its trials.
        stored: The stored search of that name; None for a new one.
        growth: What the stored search gains.
        failed: Its trials that are to be tried again.
        replaces: A search of that name without a loss, and in words what has changed since.
        shortest: How small a run of the task may become; None if it may not be shortened.
    """

    spec: SearchSpec
    facts: Mapping[str, Any]
    spaces: Mapping[str, Space]
    ladder: Ladder
    stored: SearchRecord | None = None
    growth: Growth = field(default_factory=Growth)
    failed: tuple[int, ...] = ()
    replaces: tuple[SearchRecord, str] | None = None
    shortest: Shortest | None = None

    @property
    def finished(self) -> bool:
        """Return whether nothing is left to do for this budget."""
        if self.stored is None or self.stored.state is not SearchState.COMPLETE:
            return False
        if self.growth or self.failed:
            return False
        old = parse(dict(self.stored.spec))
        same = (old.seeds, old.finalists) == (self.spec.seeds, self.spec.finalists)
        return same and old.budget.resolved == self.spec.budget.resolved


def prepare(
    spec: SearchSpec, engine: str | None = None, stored: SearchRecord | None = None
) -> Prepared:
    """Return what is known of a task before any trial; stores nothing.

    Raises SpecError for what cannot be searched.

    ``engine``: the engine of this process, if it is not the spec's. ``stored``: the search of that
    name, if there is one.
    """
    check_names(spec)
    check_budget(Policy.of(spec))
    device = device_of(spec, stored)
    with Surroundings().entered(), lines.apart():
        task = _task(spec, device, stored)
        from_spec.check(engine or spec.engine, task, spec.optimizers)
        measuring.check(spec, task, engine or spec.engine)
        spaces = spaces_of(spec, getattr(task, "presets", {}))
        check_spaces(spec, spaces)
        controlling.check(spec, task, engine or spec.engine, spaces)
        foreign.check(spaces)
        words.check(spec, spaces)
        earlier.check(spec, spaces)
        measured = task.rehearse() if hasattr(task, "rehearse") else None
        foreign.check_model(task, spaces)
        devices.release()  # workers need the memory of a GPU that a user's code has used
        facts = dict(task.facts())
        return Prepared(
            facts=facts,
            spaces=over_runs(spaces, facts["steps"]),
            measured=measured,
            shortest=getattr(task, "shortest", None),
        )


def registered(spec: SearchSpec) -> Prepared:
    """Return what is known of a task of the registry, for a process that trains nothing.

    Its data are built in and it computes on the CPU. Raises SpecError for what cannot be searched.
    """
    check_names(spec)
    check_budget(Policy.of(spec))
    task = resolve(**task_arguments(spec, {}))
    spaces = spaces_of(spec, getattr(task, "presets", {}))
    check_spaces(spec, spaces)
    controlling.check(spec, task, spec.engine, spaces)
    foreign.check(spaces)
    earlier.check(spec, spaces)
    facts = dict(task.facts())
    return Prepared(facts=facts, spaces=over_runs(spaces, facts["steps"]))


def facts_of(spec: SearchSpec, stored: SearchRecord | None = None) -> dict[str, Any]:
    """Return the facts of a task that was prepared before, in another size.

    ``stored``: the search that it was prepared for, if that is stored.
    """
    with Surroundings().entered(), lines.apart():
        return dict(_task(spec, device_of(spec, stored), stored).facts())


def known(spec: SearchSpec, stored: SearchRecord) -> Prepared:
    """Return what is stored of a task, for a process that decides and trains nothing.

    No code of a user is run. Only the settings that authors published for a network of this package
    are read from it.
    """
    published: Mapping[str, Any] = {}
    if spec.command is None and not is_own(spec.model):
        task = resolve(**task_arguments(spec, stored.task))
        published = getattr(task, "presets", published)
    return Prepared(facts=dict(stored.task), spaces=spaces_of(spec, published))


def _task(spec: SearchSpec, device: Device, stored: SearchRecord | None) -> Task:
    begun = stored.task if stored is not None and device == CPU and has_bfloat16() else {}
    known = {"precision": begun["precision"]} if "precision" in begun else {}
    if stored is not None and spec.command is not None:
        known |= {name: stored.task[name] for name in (LOOP, ARGS) if name in stored.task}
    task = resolve(**task_arguments(spec, known))
    wanted = getattr(task, "wants", None) if spec.device == AUTO else None
    device = devices.resolve(wanted) if wanted else device
    task = placed(task, device) if movable(task) or spec.device != AUTO else task
    return computed(task, spec)


def check_spaces(spec: SearchSpec, spaces: Mapping[str, Space]) -> None:
    """Refuse spaces without a choice, wrong options, and a sampler that cannot propose in them."""
    if all(space.points == 1 for space in spaces.values()):
        raise SpecError(
            f"the space of {' and of '.join(spaces)} holds a single setting, so there is nothing "
            "to search; leave a parameter free"
        )
    options.check(spaces)
    check_sampler(spec, spaces)


def check_sampler(spec: SearchSpec, spaces: Mapping[str, Space]) -> None:
    """Refuse a sampler that cannot propose in a space or cannot run on this machine."""
    check = getattr(load("autotune.samplers", spec.sampler), "check", None)
    if check:
        for space in spaces.values():
            check(space)


def checked(
    spec: SearchSpec,
    store: Store,
    engine: str | None = None,
    mixed: Mapping[str, str] | None = None,
) -> Checked:
    """Check a search that this process joins.

    Args:
        spec: Its spec.
        store: Where it is stored.
        engine: The engine of this process.
        mixed: Device and precision of a process that may compute otherwise than the search has, as
            keys of a spec; None: of one that may not.

    Raises:
        AlreadyThere: Its name belongs to another search.
        SpecError: It has another kind of device or precision than this process.
    """
    stored = stored_as(spec, store)
    here = spec if mixed is None else spec.model_copy(update=dict(mixed))
    prepared = prepare(here, engine, stored if mixed is None else None)
    if stored is None:
        return beginning(spec, prepared)
    facts = prepared.facts
    changed = changed_since(spec, stored, facts)
    kinds = {KEPT_FACTS[name] for name in KINDS}
    if mixed is None and changed and kinds >= set(changed):
        raise SpecError(
            f"search '{stored.name}' computes on {computing(stored.task)}, this worker would on "
            f"{computing(facts)}: the losses of one search are of one kind; {MIX}"
        )
    if changed := [what for what in changed if mixed is None or what not in kinds]:
        raise another(stored, changed, store)
    return going_on(spec, stored, prepared)


def beginning(spec: SearchSpec, prepared: Prepared) -> Checked:
    """Return a new search; raises SpecError where its accuracy is no fraction.

    One that is stored with percentages goes on with them.
    """
    refuse_percent(spec.model, prepared.measured)
    return Checked(
        spec=spec,
        facts=prepared.facts,
        spaces=prepared.spaces,
        ladder=rungs_of(prepared.facts),
        shortest=prepared.shortest,
    )


def going_on(
    spec: SearchSpec,
    stored: SearchRecord,
    prepared: Prepared,
    failed: Sequence[int] = (),
) -> Checked:
    """Return a stored search that goes on; raises AlreadyThere if its space would narrow."""
    gained = growth(stored, spec, prepared.spaces)
    return Checked(
        spec=spec,
        facts=prepared.facts,
        spaces={**prepared.spaces, **gained.widened},
        ladder=rungs_of(stored.task),
        stored=stored,
        growth=gained,
        failed=tuple(failed),
    )


def stored_as(spec: SearchSpec, store: Store) -> SearchRecord | None:
    """Return the stored search of that name; raises as ``refuse_other_kind``."""
    try:
        found = store.search(spec.search_name)
    except NotFound:
        return None
    refuse_other_kind(spec, found, str(store))
    return found


def as_begun(spec: SearchSpec, stored: SearchRecord | None) -> SearchSpec:
    """Return a spec with what the stored search was shortened to, and its precision, if silent."""
    if stored is None:
        return spec
    own: Mapping[str, Any] = stored.task.get(SHORTENED, {})
    kept = {key: stored.spec[key] for key in own if getattr(spec, key) is None}
    asked = stored.spec.get("precision", precision.AUTO)
    if spec.precision == precision.AUTO != asked:
        kept["precision"] = asked
    return spec.model_copy(update=kept) if kept else spec


def open_search(
    found: Checked, store: Store, *, dead: str | None = None, blame: bool = True
) -> Opened:
    """Return the stored search, or store a new one.

    Trials of the worker named ``dead`` are taken back at once. ``blame``: a trial counts its lost
    workers, because it may be what ended them.
    """
    if found.replaces:
        delete.refuse_workers(store, found.replaces[0].name)
        delete.delete(store.url, found.replaces[0])
    search = _grown(found, store) if found.stored else _create(found, store)
    if found.failed:
        store.take_up(search.id, found.failed)
    store.reap(search.id, worker=dead, blame=blame)
    return _go_on(found, search, store)


def _create(found: Checked, store: Store) -> SearchRecord:
    return store.create_search(
        found.spec.search_name,
        found.spec.model_dump(mode="json"),
        found.facts,
        {name: space.as_data() for name, space in found.spaces.items()},
        environment.facts(Device(found.facts.get("device", CPU.kind)), found.spaces),
    )


def _grown(found: Checked, store: Store) -> SearchRecord:
    """Return the stored search with what it gains stored as well."""
    stored, gained = found.stored, found.growth
    if stored is None:
        raise ValueError("only a stored search grows")
    if not gained:
        return stored
    return store.grow_search(
        stored.name,
        found.spec.model_dump(mode="json"),
        before=stored.spec,
        joined={name: space.as_data() for name, space in gained.joined.items()},
        widened={name: space.as_data() for name, space in gained.widened.items()},
    )


def _go_on(found: Checked, search: SearchRecord, store: Store) -> Opened:
    spec = found.spec
    if not found.finished:
        # Another process may have ended it meanwhile; only a new budget reopens it.
        unless = SearchState.COMPLETE if search.state is not SearchState.COMPLETE else None
        store.update_search(
            search.name,
            state=SearchState.RUNNING,
            spec=spec.model_dump(mode="json"),
            unless=unless,
        )
    states = tuple(_state_of(found, search, name, space) for name, space in found.spaces.items())
    changes = store.changes(search.id)
    merge(states, changes)
    return Opened(
        search=as_here(store.search(search.name), found.facts),
        states=states,
        resumed=sum(len(state.trials) for state in states),
        finished=found.finished,
        revision=changes.revision,
    )


def charged(opened: Opened, store: Store, seconds: float) -> Opened:
    """Return a search that has spent some seconds of its minutes before it was stored."""
    if not seconds:
        return opened
    spent = store.tick(opened.search.id, seconds)
    return replace(opened, search=replace(opened.search, seconds=spent))


def _state_of(found: Checked, search: SearchRecord, optimizer: str, space: Space) -> StudyState:
    counted = found.spec.budget.resolved.trials is not None
    return StudyState(
        study=next(study for study in search.studies if study.optimizer == optimizer),
        space=space,
        presets=presets_of(optimizer, space),
        earlier=earlier.candidates(found.spec, optimizer, space),
        policy=Policy.of(found.spec),
        # Early rungs save compute for more settings, which is useless if their number is fixed.
        ladder=found.ladder.from_safe() if counted else found.ladder,
    )
