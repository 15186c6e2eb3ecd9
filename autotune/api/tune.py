"""The search from Python: ``tune`` runs one, ``load`` reads one.

They call what the command line calls (``search.session``, ``search.details``, ``export.stored``)
and show it as it does; nothing is decided, checked or formatted here a second time.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from autotune import registry
from autotune.api.result import GO_ON, Result, lasting
from autotune.api.shown import NO_BUDGET, form, telling, text
from autotune.cli.shared.interrupt import interruptible, unclaimed
from autotune.errors import SpecError
from autotune.search import details
from autotune.search.events import Listener
from autotune.search.stored import opened
from autotune.studies import earlier, names, urls
from autotune.studies import spec as specs
from autotune.studies.spec import SearchSpec

DEFAULT_ENGINE = "inline"  # of a function: nothing has to be sent
IN_THIS = "runs in this process, one trial at a time; engine='processes' runs several side by side"

Model = str | Callable[..., Any]


def tune(  # noqa: PLR0913  what a search is made of
    model: Model | None = None,
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
            a ``Problem``. Or it is a generator, the training loop itself: it may take
            ``optimizer``, ``seed``, ``steps``, ``start``, ``device``, ``setting`` and
            ``evaluate``, and yields ``(step, loss)`` (docs/python.md). It runs in this process, one
            trial at a time, unless ``engine`` says otherwise: ``"processes"`` and ``"ray"`` take
            one from the top of a file. None: give ``command``.
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
        **spec: Other keys of a spec: ``steps`` of a full run, ``batch_size`` in samples,
            ``image_size`` in pixels of a side, ``data``, ``seeds`` to judge on, ``finalists``,
            ``seed``, ``workers``, ``engine``, ``device`` (as ``"cpu"``, ``"cuda:1"``),
            ``precision`` (as ``"bf16"``), ``sampler``, ``pruner``, ``ray``; ``per_gpu``
            and, in seconds, ``step_timeout`` (engine ``"processes"``); ``try_first``, settings
            that are known from elsewhere, or the path of a file with them
            (``autotune import``); ``patience``, settings without a better one; ``record_norms`` of
            each step's gradient, for ``Result.refine``; ``measure_noise`` of gradients, for
            ``Tuned.at(batch=...)``;
            ``command`` (words such as ``["python", "train.py", "{args}"]``), ``report``, ``metric``
            and ``steps`` to tune a command of your own (docs/commands.md).

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
    if "try_first" in spec:
        asked["try_first"] = earlier.settings(spec["try_first"])
    asked["budget"] = {**limits, "patience": patience}
    shown = form(progress, listen)
    with _parsed(model, asked) as (parsed, notice):
        return _search(parsed, text(storage), telling(shown, listen, notice))


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
    with opened(text(storage)) as store:
        return Result(comparison=details.comparison(store, name), storage=lasting(store.url))


def _check_keys(given: Iterable[str]) -> None:
    """Refuse what is neither a key of a spec nor an argument, with the nearest of both."""
    known = [*dict.fromkeys((*inspect.signature(tune).parameters, *SearchSpec.model_fields))]
    known[known.index("spec")] = "patience"
    for key in given:
        if key not in known:
            hint = names.suggestion(key, known) or " " + names.listing(known)
            raise SpecError(f"unknown key '{key}'{hint}")


@contextmanager
def _parsed(
    model: Model | None, asked: Mapping[str, Any]
) -> Iterator[tuple[SearchSpec, str | None]]:
    """Give the spec for as long as its function can be found, and what to say first of all."""
    if model is None and asked.get("command") is not None:
        yield specs.parse(asked), None
        return
    if model is None:
        raise SpecError("a search needs a model or a command: give model or command")
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


def _search(
    spec: SearchSpec, storage: str | None, heard: AbstractContextManager[Listener]
) -> Result:
    from autotune.search import session

    with interruptible(unclaimed()) as interrupt, heard as tell:
        ended = session.run(spec, storage, listen=tell, halt=interrupt.halt)
    stopped = interrupt.halt.is_set() and ended.saved is not None
    if ended.comparison is None or stopped:
        raise KeyboardInterrupt(ended.interrupted(GO_ON))
    return Result(comparison=ended.comparison, storage=lasting(urls.resolve(storage)))
