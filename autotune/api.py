"""The search from Python: ``tune`` runs one, ``load`` reads one, ``Result`` says what was found.

They call what the command line calls (``search.session``, ``search.details``, ``export.stored``)
and show it as it does; nothing is decided, checked or formatted here a second time.
"""

from __future__ import annotations

import html
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune import registry
from autotune.cli.shared.interrupt import interruptible, unclaimed
from autotune.cli.views import format
from autotune.cli.views.comparison import report, setting
from autotune.cli.views.progress import FORMS, listening
from autotune.cli.views.table import width
from autotune.errors import SpecError, UnknownName
from autotune.export import render, stored
from autotune.results import frames
from autotune.results import tuned as records
from autotune.results.comparison import Comparison, Row
from autotune.search import details
from autotune.search.events import Event, Listener, Notice, SearchStarted
from autotune.search.status import current
from autotune.search.stored import opened
from autotune.studies import names, urls
from autotune.studies import spec as specs
from autotune.studies.records import SearchState, TrialRecord
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

DEFAULT_ENGINE = "inline"  # of a function: nothing has to be sent
IN_THIS = "runs in this process, one trial at a time; engine='processes' runs several side by side"
GO_ON = "the same call goes on"
NO_BUDGET = "a search needs a budget: give trials, runs or minutes, or several of them"

Model = str | Callable[..., Any]


def tune(  # noqa: PLR0913  what a search is made of
    model: Model,
    *,
    optimizers: Sequence[str] = ("adan", "adamw-win2", "adamw"),
    trials: int | None = None,
    runs: float | None = None,
    minutes: float | None = None,
    storage: str | os.PathLike[str] | None = None,
    name: str | None = None,
    space: Mapping[str, Any] | None = None,
    listen: Listener | None = None,
    progress: str | None = None,
    **spec: Any,
) -> Result:
    """Search settings of optimizers for a model, and judge the best on fresh seeds.

    The same call again goes on where the search stopped, and reads it where it is complete. Ctrl-C,
    or SIGTERM, SIGHUP or SIGUSR1 where the calling program does not handle it, finishes and saves
    the running steps, then raises KeyboardInterrupt; a second one ends at once.

    Args:
        model: A registered model's name, ``"train.py:problem"``, or a function. A function may take
            ``seed`` and ``classes`` by name, and returns a new ``nn.Module`` (images to logits) or
            a ``Problem``. It runs in this process, one trial at a time, unless ``engine`` says
            otherwise: ``"processes"`` and ``"ray"`` take one from the top of a file.
        optimizers: Names; each gets the whole budget of trials or runs.
        trials: Settings to try for each optimizer.
        runs: Full runs to spend on each optimizer; a run stopped halfway counts 0.5.
        minutes: Wall time in all, judging included; full runs that it cannot pay become shorter.
        storage: A database file or URL; None is ``AUTOTUNE_STORAGE``, else ``autotune.db``.
        name: Of the search; None is the function's or the model's.
        space: What to fix, narrow or choose, by parameter: ``{"lr": {"high": 1e-2}}``.
        listen: Called with each event (``autotune.search.events``); nothing is shown then.
        progress: How to show what happens on stderr: ``"auto"`` (bars on a terminal and in a
            notebook with ipywidgets, else lines), ``"rich"``, ``"plain"``, ``"json"``, ``"off"``.
        **spec: Other keys of a spec: ``steps`` of a full run, ``batch_size`` in samples, ``data``,
            ``seeds`` to judge on, ``finalists``, ``seed``, ``workers``, ``engine``, ``device`` (as
            ``"cpu"``, ``"cuda:1"``), ``sampler``, ``pruner``, ``ray``; ``per_gpu`` and, in seconds,
            ``step_timeout`` (engine ``"processes"``); ``patience``, settings without a better one.

    Returns:
        What was found; also where another process told the search to stop.

    Raises:
        SpecError: An argument, the model or its data cannot be used.
        AlreadyThere: The name is another search's: the model or its data has changed, or the space
            is narrower. One that is wider, and further optimizers, go on with what was run.
        NothingUsable: No trial ended with a loss.
        StorageError: The database cannot be used.
        KeyboardInterrupt: Interrupted; ``load`` returns what was found so far.

    Example:
        >>> import tempfile, torch, autotune
        >>> def line(seed):
        ...     x = torch.linspace(-1, 1, 64).reshape(8, 8, 1)
        ...     return autotune.Problem(
        ...         model=torch.nn.Linear(1, 1),
        ...         train=list(x[:6]),
        ...         validation=list(x[6:]),
        ...         loss=lambda model, x: (model(x) - 3 * x).square().mean(),
        ...     )
        >>> folder = tempfile.TemporaryDirectory()
        >>> result = autotune.tune(line, optimizers=["adan"], trials=2, steps=9,
        ...                        storage=f"{folder.name}/autotune.db", progress="off")
        >>> result.name, result.complete, result.best.optimizer
        ('line', True, 'adan')
        >>> folder.cleanup()
    """
    _check_keys(spec)
    limits = {"trials": trials, "runs": runs, "minutes": minutes}
    if "budget" in spec or not any(value is not None for value in limits.values()):
        raise SpecError(NO_BUDGET)
    patience = spec.pop("patience", None)
    asked = {"optimizers": optimizers, "name": name, "space": space or {}}
    asked |= {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in spec.items()}
    asked["budget"] = {**limits, "patience": patience}
    form = _form(progress, listen)
    with _parsed(model, asked) as (parsed, notice):
        return _search(parsed, _text(storage), _telling(form, listen, notice))


def load(name: str, *, storage: str | os.PathLike[str] | None = None) -> Result:
    """Return what a stored search has found so far; it may still be running.

    Args:
        name: Of the search.
        storage: A database file or URL; None is ``AUTOTUNE_STORAGE``, else ``autotune.db``.

    Raises:
        NotFound: There is no such search, or no database.
        StorageError: The database cannot be used.

    Example:
        >>> import autotune
        >>> autotune.load("line").complete
        True
    """
    with opened(_text(storage)) as store:
        return Result(comparison=details.comparison(store, name), storage=_lasting(store.url))


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """What a search found, as far as it went; printed, it is the table of ``autotune compare``.

    Args:
        comparison: Optimizers side by side, the best first.
        storage: URL of its database, from which the rest is read when it is asked for.

    Example:
        >>> import autotune
        >>> result = autotune.load("line")
        >>> result.best.optimizer == result.rows[0].optimizer
        True
        >>> sorted(result.trials().role.unique())
        ['judge', 'search', 'select']
    """

    comparison: Comparison
    storage: str

    @property
    def name(self) -> str:
        """Name of the search."""
        return self.comparison.search.name

    @property
    def complete(self) -> bool:
        """Whether the search reached the end of its budget."""
        return self.comparison.search.state is SearchState.COMPLETE

    @property
    def verdict(self) -> str:
        """What may be concluded, a sentence a line, the most important first."""
        return "\n".join(self.comparison.sentences)

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row for each optimizer, lowest mean of the tuned setting first.

        A row has ``optimizer``; ``default`` and ``tuned``, each with the ``loss`` on fresh seeds
        (mean and ends of the 95 % interval; None while nothing was judged) and the ``accuracy`` (a
        fraction); ``difference``, of tuned less default, seed by seed; and its ``verdict``.
        """
        return self.comparison.rows

    @property
    def best(self) -> Tuned:
        """The tuned setting with the lowest mean loss, as ``autotune export SEARCH`` takes it.

        Raises:
            NothingUsable: No judging run has ended.
        """
        return Tuned(record=stored.record(self.storage, self.name))

    def tuned(self, optimizer: str) -> Tuned:
        """Return the tuned setting of an optimizer; its default where tuning found nothing better.

        Raises:
            NotFound: The search has no such optimizer.
            NothingUsable: No judging run of it has ended.
        """
        return Tuned(record=stored.record(self.storage, self.name, optimizer))

    def trials(self) -> DataFrame:
        """Return a row for each trial: its setting, where it stands and its last validation loss.

        ``step`` and ``target`` are in steps, ``warmup`` is a fraction of them, ``seconds`` were
        spent training and evaluating.

        Raises:
            MissingExtra: pandas is not installed.
        """
        with opened(self.storage) as store:
            return frames.trials(self._trials(store))

    def curves(self) -> DataFrame:
        """Return a row for each point of each trial's curve.

        ``seconds`` were spent until ``step``; ``loss`` and ``accuracy`` are on validation data, and
        missing where only the training loss was read.

        Raises:
            MissingExtra: pandas is not installed.
        """
        with opened(self.storage) as store:
            studies = store.search(self.name).studies
            points = {key: those for s in studies for key, those in store.curves(s.id).items()}
            return frames.curves(self._trials(store), points)

    def _trials(self, store: Store) -> dict[str, list[TrialRecord]]:
        search = current(store.search(self.name), store)
        return {s.optimizer: details.trials_of(store, search, s) for s in search.studies}

    def __repr__(self) -> str:
        text = report(self.comparison, width())
        stopped = self.comparison.search.state is SearchState.INTERRUPTED
        return f"{text}\ninterrupted; {GO_ON}" if stopped else text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@dataclass(frozen=True, kw_only=True, repr=False)
class Tuned:
    """A setting that a search found, ready to train with.

    Args:
        record: The setting with its evidence and warnings: what exports are written from.

    Example:
        >>> import torch, autotune
        >>> tuned = autotune.load("line").tuned("adan")
        >>> optimizer = tuned.build(torch.nn.Linear(4, 1))
        >>> scheduler = tuned.schedule(optimizer, steps=1_000)
        >>> optimizer.param_groups[0]["initial_lr"] == tuned.hyper["lr"]
        True
    """

    record: records.Tuned

    @property
    def optimizer(self) -> str:
        """Name of the optimizer."""
        return self.record.optimizer

    @property
    def hyper(self) -> dict[str, Any]:
        """Keyword arguments of the optimizer; betas are close to one."""
        return dict(self.record.hyper)

    @property
    def warmup(self) -> float:
        """Fraction of the schedule in which the learning rate rises."""
        return self.record.warmup

    def build(self, model: nn.Module) -> Optimizer:
        """Return the optimizer for a model; parameters with ndim <= 1 are not decayed.

        Raises:
            TypeError: ``model`` is not a module.
        """
        from autotune.training.building import optimizer_of

        return optimizer_of(model, self.optimizer, self.hyper)

    def schedule(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """Return the schedule over ``steps`` optimizer steps: linear warm-up, then cosine to zero.

        Call its ``step`` after each ``optimizer.step()``.

        Raises:
            SpecError: ``steps`` is less than 1.
        """
        from torch.optim.lr_scheduler import LambdaLR

        from autotune.training.lr_schedule import multiplier

        if steps < 1:
            raise SpecError(f"steps must be at least 1, got {steps}")
        return LambdaLR(optimizer, lambda step: multiplier(min(step, steps), steps, self.warmup))

    def export(self, form: str) -> str:
        """Return the setting as ``"torch"``, ``"yaml"``, ``"json"`` or another registered export.

        Raises:
            UnknownName: No export has that name.
        """
        return render(self.record, form)

    def __repr__(self) -> str:
        parts = setting(self.hyper, self.warmup).items()
        return f"{self.optimizer}: " + ", ".join(f"{k} {v}" for k, v in parts if v != format.NONE)


def _check_keys(given: Iterable[str]) -> None:
    """Refuse what is neither a key of a spec nor an argument, with the nearest of both."""
    known = [*dict.fromkeys((*inspect.signature(tune).parameters, *SearchSpec.model_fields))]
    known[known.index("spec")] = "patience"
    for key in given:
        if key not in known:
            hint = names.suggestion(key, known) or " " + names.listing(known)
            raise SpecError(f"unknown key '{key}'{hint}")


def _text(storage: str | os.PathLike[str] | None) -> str | None:
    return None if storage is None else os.fspath(storage)


def _lasting(url: str) -> str:
    """Return a URL that means the same when the working directory changes."""
    file = urls.file(url)
    if file is None or file.is_absolute() or urls.parse(url).query:
        return url
    return urls.normalise(str(file.absolute()))


def _form(progress: str | None, listen: Listener | None) -> str:
    if progress is None:
        return "auto" if listen is None else "off"
    if progress not in FORMS:
        raise UnknownName(registry.unknown("progress", progress, FORMS))
    return progress


@contextmanager
def _parsed(model: Model, asked: Mapping[str, Any]) -> Iterator[tuple[SearchSpec, str | None]]:
    """Give the spec for as long as its function can be found, and what to say first of all."""
    if isinstance(model, str):
        yield specs.parse({**asked, "model": model}), None
        return
    if not callable(model):
        raise SpecError(f"model must be a name or a function, got {type(model).__name__}")
    from autotune.tasks.given import name_of, offered

    name = asked["name"] or name_of(model)
    spec = specs.parse({"engine": DEFAULT_ENGINE, **asked, "name": name, "model": name})
    registry.check("autotune.engines", spec.engine)
    chosen = "engine" in asked
    with offered(model, spec.engine) as text:
        yield spec.model_copy(update={"model": text}), None if chosen else f"{name} {IN_THIS}"


@contextmanager
def _telling(form: str, listen: Listener | None, notice: str | None) -> Iterator[Listener]:
    """Show events and pass them on, after a notice where a search begins."""
    with listening(form) as show:

        def tell(event: Event) -> None:
            if notice is not None and isinstance(event, SearchStarted):
                show(Notice(text=notice))
            show(event)
            if listen is not None:
                listen(event)

        yield tell


def _search(
    spec: SearchSpec, storage: str | None, telling: AbstractContextManager[Listener]
) -> Result:
    from autotune.search import session

    with interruptible(unclaimed()) as interrupt, telling as tell:
        ended = session.run(spec, storage, listen=tell, halt=interrupt.halt)
    stopped = interrupt.halt.is_set() and ended.saved is not None
    if ended.comparison is None or stopped:
        raise KeyboardInterrupt(ended.interrupted(GO_ON))
    return Result(comparison=ended.comparison, storage=_lasting(urls.resolve(storage)))
