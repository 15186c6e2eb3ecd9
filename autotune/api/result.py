"""What a search found, as a value that prints as ``autotune compare`` does."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.api.tuned import Tuned
from autotune.cli.views.comparison import report
from autotune.cli.views.table import width
from autotune.export import stored
from autotune.results import frames
from autotune.results.comparison import Comparison, Row
from autotune.search import details
from autotune.search.status import current
from autotune.search.stored import opened
from autotune.studies import urls
from autotune.studies.records import SearchState, TrialRecord
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
