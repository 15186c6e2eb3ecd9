"""What a search found, as a value that prints as ``autotune compare`` does."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.api.tuned import Tuned
from autotune.cli.views.comparison import report
from autotune.cli.views.table import width
from autotune.export import stored
from autotune.results import frames
from autotune.results.best import Ranked
from autotune.results.comparison import Comparison, Row
from autotune.results.validation import Validation
from autotune.search import details
from autotune.search.events import Listener
from autotune.search.status import current
from autotune.search.stored import opened
from autotune.studies import urls
from autotune.studies.records import Point, SearchState, TrialRecord
from autotune.studies.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

GO_ON = "the same call goes on"


def lasting(url: str) -> str:
    """Return a URL that means the same when the working directory changes."""
    file = urls.file(url)
    if file is None or file.is_absolute() or urls.parse(url).query:
        return url
    return urls.normalise(str(file.absolute()))


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

    def top(self, count: int, optimizer: str | None = None) -> tuple[Ranked, ...]:
        """Return the best settings of an optimizer, the recommended one first.

        The others follow by their loss on the search's own seed; each has its ``rank``, ``stage``,
        ``losses`` by seed, and a ``record`` as ``Tuned.record``. ``autotune.export.render_best``
        writes them.

        Args:
            count: How many; fewer where the search ran fewer to their last step.
            optimizer: Whose; None: the one with the lowest loss.

        Raises:
            SpecError: ``count`` is less than 1.
            NotFound: The search has no such optimizer.
            NothingUsable: No setting was run to its last step.

        Example:
            >>> import autotune
            >>> [one.rank for one in autotune.load("line").top(1)]
            [1]
        """
        return stored.ranked(self.storage, self.name, optimizer, count)

    @property
    def validations(self) -> tuple[Validation, ...]:
        """What became of tuned settings in longer runs, the oldest first."""
        return self.comparison.validations

    def validate(
        self,
        *,
        steps: int | str = "5x",
        optimizer: str | None = None,
        rules: Sequence[str] | None = None,
        model: Callable[..., Any] | None = None,
        listen: Listener | None = None,
        progress: str | None = None,
        **limits: Any,
    ) -> Validation:
        """Train the tuned setting for longer, beside what it has to beat, on fresh seeds.

        The same call again goes on where it stopped, and reads it where it is complete. Ctrl-C
        saves the running steps, then raises KeyboardInterrupt.

        Args:
            steps: Steps of a run, or as ``"5x"`` how many times as long as the search's.
            optimizer: Whose; None: the one with the lowest loss.
            rules: Sets of rules that restate the setting, each joined by ``+``; they are compared.
                None: the default set (docs/transfer.md).
            model: The function that was searched, where ``tune`` was given one; not its name.
            listen: Called with each event; nothing is shown then.
            progress: How to show what happens on stderr, as in ``autotune.tune``.
            **limits: ``batch``, samples of a batch or as ``"4x"``; ``seeds``; ``settings`` of the
                search to rank in the longer runs too; ``runs`` of that length; ``minutes``, in
                which it goes on with more seeds; ``workers``.

        Returns:
            What was found: ``holding`` says whether the result holds, ``sentences`` why, and
            ``outcomes`` has the paired differences with their intervals by set of rules.

        Raises:
            SpecError: The search is not complete, or what is asked for cannot be run or paid.
            NothingUsable: The search has nothing that could be validated.
            KeyboardInterrupt: Interrupted.
        """
        from autotune.api.validate import validate

        study = self.name if optimizer is None else f"{self.name}/{optimizer}"
        asked = {"study": study, "steps": steps, **limits}
        if rules is not None:
            asked["rules"] = [tuple(each.split("+")) for each in rules]
        return validate(asked, self.storage, model, listen=listen, progress=progress)

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

    def records(self) -> Iterator[tuple[str, TrialRecord, Sequence[Point]]]:
        """Yield each trial with its optimizer's name before it and its curve behind it.

        ``autotune.integrations.mlflow`` and ``.wandb`` write these to their trackers.
        """
        with opened(self.storage) as store:
            curves = {s.optimizer: store.curves(s.id) for s in store.search(self.name).studies}
            for optimizer, trials in self._trials(store).items():
                for trial in trials:
                    yield optimizer, trial, curves[optimizer].get(trial.id, ())

    def _trials(self, store: Store) -> dict[str, list[TrialRecord]]:
        search = current(store.search(self.name), store)
        return {s.optimizer: details.trials_of(store, search, s) for s in search.studies}

    def __repr__(self) -> str:
        text = report(self.comparison, width())
        stopped = self.comparison.search.state is SearchState.INTERRUPTED
        return f"{text}\ninterrupted; {GO_ON}" if stopped else text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"
