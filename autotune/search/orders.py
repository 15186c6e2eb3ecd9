"""What the workers of a search are told by people: to stop, to pause or to go on."""

from __future__ import annotations

from autotune.search.stored import opened
from autotune.studies import urls
from autotune.studies.records import Command, SearchState
from autotune.studies.store import Store


def is_complete(storage: str | None, name: str) -> bool:
    """Return whether a search is over, so that its workers have gone; raises NotFound."""
    with opened(storage) as found:
        return found.search(name).state is SearchState.COMPLETE


def give(storage: str | None, name: str, order: Command, *, seen: Command | None = None) -> bool:
    """Tell all workers of a search; they obey within about 15 seconds and save their trials.

    Args:
        storage: URL of the database; None takes the default.
        name: The search.
        order: What they are told, until the next order.
        seen: What they had been told when this was decided; None: whatever that was.

    Returns:
        Whether they are told it: not where somebody told them a third thing since ``seen``.

    Raises:
        NotFound: There is no such search.
        StorageError: The database cannot be written.
    """
    with opened(storage) as found:  # opening it to write would make one that is not there
        found.search(name)
    with Store(urls.resolve(storage)) as store:
        return store.tell(name, order, seen=seen)
