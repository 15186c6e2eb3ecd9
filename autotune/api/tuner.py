"""Ask and tell: a caller's own loop trains the trials, wherever and however it likes."""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self, cast

from autotune.api.loop import Loop
from autotune.api.ranks import Ranks, mean
from autotune.api.result import Result, lasting
from autotune.api.shown import NO_BUDGET, form, telling, text
from autotune.api.trial import Answers, Trial, by_step, number
from autotune.errors import AutotuneError, SpecError
from autotune.search import details
from autotune.search.adding import ELSEWHERE, Measured, curve
from autotune.search.events import Listener
from autotune.search.joining import prepare
from autotune.search.manual import Manual
from autotune.search.renewal import refuse_nothing
from autotune.search.stored import opened
from autotune.studies import earlier, names, urls
from autotune.studies import spec as specs
from autotune.studies.records import SearchState
from autotune.studies.spec import ASKED, SearchSpec

POLICIES = ("seeds", "finalists", "seed", "sampler", "pruner", "patience", "try_first")


class Tuner:
    """A search whose trials the caller's own loop trains.

    Processes that make a ``Tuner`` of the same name share the search: each is asked for other
    trials. The same script again goes on where it stopped, however it ended. A trial whose process
    is not heard of for a minute is given to another; while the loop trains, a thread gives signs
    of life.

    Iterating asks for trials until the search is over. When the body of the loop ends, its trial
    is told: it has to have reported the loss of step ``trial.stop``, or to have left because
    ``report`` returned False; else it failed, and the search goes on. What the body raises is
    raised, as ``break`` and Ctrl-C leave the loop: that trial is taken again when the search goes
    on. To fail the trial instead and go on with the next, train in ``with trial:``.

    Under an initialised ``torch.distributed`` group all ranks make the tuner and train each trial
    together: rank 0 has the search, and every call is answered alike on all ranks. What is refused
    is raised on all of them.

    Args:
        optimizers: Names; each gets the whole budget of trials or runs.
        steps: Optimizer steps of a full run.
        name: Of the search.
        trials: Settings to try for each optimizer.
        runs: Full runs to spend on each optimizer; a run stopped halfway counts 0.5.
        minutes: Wall time in all, from the first ``ask``, judging included.
        storage: A database file or URL; None is ``AUTOTUNE_STORAGE``, else ``autotune.db``.
        space: What to fix, narrow or choose, by parameter: ``{"lr": {"high": 1e-2}}``.
        model: What to call the model; None: as the search.
        data: What identifies the data, such as a name with a version: a process that names another
            cannot join. A data set with a fingerprint of its own, as Hugging Face's, or a loader
            of one, is identified by that. None: not compared.
        batch_size: Samples of an optimizer step, which exports name beside lr.
        can_pause: Whether the loop can go on with a trial later, from what ``trial.save`` was
            given. False: ``trial.stop`` is the last step, and at some steps of ``trial.evaluate``
            ``report`` decides at once, and for good, whether the trial goes on; none is repeated.
        listen: Called with each event (``autotune.search.events``); nothing is shown then.
        progress: How to show what happens on stderr: ``"plain"`` (lines), ``"rich"`` (bars),
            ``"auto"``, ``"json"``, ``"off"``; None: lines, or nothing with ``listen``.
        **policies: Other keys of a spec: ``seeds`` to judge on, ``finalists``, ``seed``,
            ``sampler``, ``pruner``; ``patience``, settings without a better one; ``try_first``,
            settings that are known from elsewhere or the path of a file with them.

    Raises:
        SpecError: An argument cannot be used.
        AlreadyThere: The name is another search's, with other steps, data or a narrower space.
        StorageError: The database cannot be used.

    Example:
        >>> import tempfile, autotune
        >>> folder = tempfile.TemporaryDirectory()
        >>> tuner = autotune.Tuner(["adamw"], steps=9, trials=2, name="bowl",
        ...                        storage=f"{folder.name}/autotune.db", progress="off")
        >>> while (trial := tuner.ask()) is not None:
        ...     distance = abs(trial.hyper["lr"] - 1e-3)
        ...     tuner.tell(trial, {step: distance + 1 / step for step in trial.evaluate})
        >>> tuner.result.best.optimizer
        'adamw'
        >>> folder.cleanup()
    """

    def __init__(  # noqa: PLR0913  what a search is made of
        self,
        optimizers: Sequence[str] = ("adan", "adamw-win2", "adamw"),
        *,
        steps: int,
        name: str,
        trials: int | None = None,
        runs: float | None = None,
        minutes: float | None = None,
        storage: str | os.PathLike[str] | None = None,
        space: Mapping[str, Any] | None = None,
        model: str | None = None,
        data: Any = None,
        batch_size: int | None = None,
        can_pause: bool = True,
        listen: Listener | None = None,
        progress: str | None = None,
        **policies: Any,
    ) -> None:
        limits = {"trials": trials, "runs": runs, "minutes": minutes}
        asked = {
            "optimizers": optimizers,
            "steps": steps,
            "name": name,
            "model": name if model is None else model,
            "data": identity(data),
            "batch_size": batch_size,
            "space": space or {},
        }
        self._spec = _spec(asked, limits, policies)
        self._url = lasting(urls.resolve(text(storage)))
        shown = form("plain" if progress is None and listen is None else progress, listen)
        self._ranks, self._pauses = Ranks(), can_pause
        self._manual: Manual | None = None  # of the first rank alone
        self._over: Result | None = None  # of several ranks, what was found in the end
        self._ranks.agree(lambda: self._begin(shown, listen))

    def _begin(self, shown: str, listen: Listener | None) -> None:
        prepare(self._spec)  # what is refused leaves no database
        with ExitStack() as stack:
            tell = stack.enter_context(telling(shown, listen, None))
            manual = Manual(self._spec, self._url, tell, pauses=self._pauses)
            stack.callback(manual.close)
            # Also where the interpreter ends: what was not told is given back.
            self._end = weakref.finalize(self, stack.pop_all().close)
        self._manual = manual

    @property
    def name(self) -> str:
        """Name of the search."""
        return self._spec.search_name

    def ask(self) -> Trial | None:
        """Return a trial to train; None where the search is over, or was told to stop.

        Waits while others train all that is left to do.

        Raises:
            SpecError: Only trials are left that this process has asked for and not told.
        """
        trial = self._loop().ask()
        if trial is None:
            self._share_result()
        return trial

    def tell(self, trial: Trial, losses: Mapping[int, Any] | None = None) -> None:
        """End a trial with its losses.

        Args:
            trial: One that ``ask`` returned here.
            losses: Loss after each step of ``trial.evaluate``, by step; one that is not finite says
                that the trial diverged. None: what ``trial.report`` was given.

        Raises:
            SpecError: A loss is missing, the trial is another process's or was told already;
                nothing is recorded then.
        """
        own = self._own(trial)
        every = self._ranks.collect(lambda: by_step(losses))
        found = {step: mean(one[step] for one in every if step in one) for step in every[0]}
        own.agree(lambda source, taken: source.tell(taken, found))

    def fail(self, trial: Trial, reason: str) -> None:
        """End a trial that could not be trained; ``reason`` is shown.

        Where the setting is at fault, as where it runs out of memory, tell a loss of infinity: the
        search then learns from it. A failed trial is tried again when the script is run again,
        until it has failed three times. After three failures and no loss the search ends.
        """
        said = " ".join(str(reason).split()) or "no reason was given"
        self._own(trial).agree(lambda source, taken: source.fail(taken, said))

    def add_trial(
        self,
        optimizer: str,
        hyper: Mapping[str, Any],
        losses: Mapping[int, Any],
        *,
        warmup: float | None = None,
        origin: str = ELSEWHERE,
    ) -> int:
        """Tell a run of this task that was never asked for, such as one of last week.

        Samplers learn from it, as after Optuna's ``add_trial``. It is shown as ``added`` and not
        counted: not in the budget, not at a rung, and it is never judged or recommended, as this
        search did not run it. What is told twice is stored once. To have a setting tried that was
        measured on another task or length, give it as ``try_first``.

        Args:
            optimizer: One that is searched.
            hyper: Its keyword arguments; the others had its defaults. All have to lie in the
                search's space.
            losses: Validation loss by step, of a run with ``steps`` steps and the schedule of a
                trial; the last alone is enough. One that is not finite says that it diverged.
            warmup: Fraction of the steps spent warming up; None: 0.1.
            origin: Where it is from; it is shown.

        Returns:
            The trial's number.

        Raises:
            AlreadyThere: The search is over.
            SpecError: It cannot be a trial of this search.

        Example:
            >>> import tempfile, autotune
            >>> folder = tempfile.TemporaryDirectory()
            >>> tuner = autotune.Tuner(["adamw"], steps=9, trials=2, name="bowl",
            ...                        storage=f"{folder.name}/autotune.db", progress="off")
            >>> tuner.add_trial("adamw", {"lr": 1e-3, "weight_decay": 0.01}, {9: 0.31})
            1
            >>> tuner.close()
            >>> folder.cleanup()
        """
        found = Measured(
            optimizer=optimizer,
            hyper=dict(hyper),
            points=curve(by_step(losses)),
            warmup=None if warmup is None else number("warmup", warmup),
            origin=names.plain(str(origin))[: names.LONGEST] or ELSEWHERE,
        )
        # Other ranks have none, and call nothing.
        return self._ranks.agree(lambda: cast(Manual, self._manual).add(found))

    @property
    def result(self) -> Result:
        """What was found so far; printed, it is the table of ``autotune compare``.

        Raises:
            NothingUsable: The search is over and no trial ended with a loss.
        """
        return self._over or self._ranks.agree(self._result)

    def _share_result(self) -> None:
        """Give all ranks the result while all are here: one of them may read it alone later."""
        if self._ranks.count > 1:
            with suppress(AutotuneError):
                self._over = self._ranks.agree(self._result)

    def close(self) -> None:
        """Give back the trials that were not told; another process or the same script goes on."""
        if self._manual is not None:
            self._end()

    def __iter__(self) -> Iterator[Trial]:
        yield from self._loop()
        self._share_result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _loop(self) -> Loop:
        return Loop(ranks=self._ranks, owner=self, source=self._manual, finish=self.close)

    def _own(self, trial: Trial) -> Answers:
        if isinstance(trial, Trial) and trial._answers.tuner is self:
            return trial._answers
        raise SpecError(
            f"a trial is told to the tuner that it was asked from, got {trial!r}; ask this tuner "
            "for its trials"
        )

    def _result(self) -> Result:
        with opened(self._url) as store:
            found = details.comparison(store, self.name)
            if found.search.state is SearchState.COMPLETE:
                studies = found.search.studies
                refuse_nothing(self.name, [t for s in studies for t in store.trials(s.id)])
        return Result(comparison=found, storage=self._url)

    def __repr__(self) -> str:
        return f"Tuner({self.name!r}, storage={urls.mask(self._url)!r})"


def _spec(
    asked: dict[str, Any], limits: Mapping[str, Any], policies: Mapping[str, Any]
) -> SearchSpec:
    """Return the spec of the arguments; raises SpecError."""
    if not any(value is not None for value in limits.values()):
        raise SpecError(NO_BUDGET)
    known = [*inspect.signature(Tuner).parameters][:-1] + list(POLICIES)
    for key in policies:
        if key not in POLICIES:
            hint = names.suggestion(key, known) or " " + names.listing(known)
            raise SpecError(f"unknown key '{key}'{hint}")
    for key in ("steps", "name"):
        if asked[key] is None:
            raise SpecError(f"{key} must be given, got None")
    own = {key: value for key, value in policies.items() if key != "patience"}
    if "try_first" in own:
        own["try_first"] = earlier.settings(own["try_first"])
    budget = {**limits, "patience": policies.get("patience")}
    return specs.parse({**asked, **own, "budget": budget, "engine": ASKED, "workers": 1})


def identity(data: Any) -> str | None:
    """Return what identifies data: a text given for it, or the fingerprint that it has itself."""
    if data is None or isinstance(data, str):
        return data
    from autotune.tasks.stream import fingerprint

    if found := fingerprint(data):
        return found
    raise SpecError(
        f"data must be a text that identifies them, or have a fingerprint of their own, got "
        f"{type(data).__name__}; give a name with a version"
    )
