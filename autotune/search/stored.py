"""The store that a command reads, and how it finds searches by name."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from autotune.config import refuse_asked
from autotune.errors import NotFound, SpecError
from autotune.registry import unknown
from autotune.studies import urls
from autotune.studies.records import SearchRecord, SearchState, StudyRecord
from autotune.studies.spec import ASKED, SearchSpec, parse
from autotune.studies.store import Store


@contextmanager
def opened(given: str | None) -> Iterator[Store]:
    """Open the store to read it; a missing database file is not created."""
    if not there(given):
        file = urls.file(urls.resolve(given))
        raise NotFound(f"no searches: there is no database {file}; autotune search makes one")
    with Store(urls.resolve(given), read_only=True) as store:
        yield store


def there(given: str | None) -> bool:
    """Return whether there is a database; True for a server, which is checked when opened."""
    file = urls.file(urls.resolve(given))
    return file is None or file.exists()


def flag(given: str | None) -> str:
    """Return " --storage URL" for a command to repeat; nothing for the default."""
    url = urls.resolve(given)
    return "" if url == urls.DEFAULT else f" --storage {shlex.quote(urls.mask(url))}"


def resume_command(name: str, given: str | None) -> str:
    """Return the command that goes on with a search."""
    return f"autotune search --resume {shlex.quote(name)}{flag(given)}"


def resumable(searches: Iterable[SearchRecord], given: str | None) -> dict[str, str]:
    """Return the command that goes on with each interrupted search, by name.

    One that a script asks for has none: that script goes on with it.
    """
    interrupted = [each for each in searches if each.state is SearchState.INTERRUPTED]
    own = [each for each in interrupted if each.spec.get("engine") != ASKED]
    return {each.name: resume_command(each.name, given) for each in own}


def refuse_other_kind(spec: SearchSpec, found: SearchRecord, where: str) -> None:
    """Refuse to go on with a search that a script asks for in another way, and the reverse.

    Args:
        spec: What is asked for.
        found: The stored search of its name.
        where: Its database, as it is shown.
    """
    stored = parse(dict(found.spec))
    if not spec.asked:
        refuse_asked(stored)
    elif not stored.asked:
        raise SpecError(
            f"search '{found.name}' in {where} trains model '{stored.model}' by itself, so a "
            "script cannot ask for its trials; give another name, or go on with it by: "
            f"{resume_command(found.name, None)}"
        )


def written(name: str, optimizer: str | None = None) -> str:
    """Return a search or a study as a word of a command to paste."""
    return shlex.quote(name if optimizer is None else f"{name}/{optimizer}")


def split(text: str) -> tuple[str, str | None]:
    """Split "search/optimizer"; the optimizer may be left out."""
    name, slash, optimizer = text.partition("/")
    if not name or (slash and not optimizer):
        raise SpecError(f"a study is written SEARCH or SEARCH/OPTIMIZER, got '{text}'")
    return name, optimizer or None


def newest(store: Store) -> SearchRecord:
    """Return the search that was started last."""
    searches = store.searches()
    if not searches:
        raise NotFound("no searches yet; autotune search begins one")
    return store.search(searches[0].name)


def studies(search: SearchRecord, optimizer: str | None) -> tuple[StudyRecord, ...]:
    """Return the studies of a search, or the one of an optimizer."""
    if optimizer is None:
        return search.studies
    found = tuple(study for study in search.studies if study.optimizer == optimizer)
    if not found:
        known = [study.optimizer for study in search.studies]
        raise NotFound(f"search '{search.name}': {unknown('optimizer', optimizer, known)}")
    return found
