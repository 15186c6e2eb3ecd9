"""Run a worker for ``autotune worker`` until its search is over or it is interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from autotune import devices
from autotune.cli.shared.interrupt import Interrupt
from autotune.cli.shared.options import say
from autotune.cli.views.progress import listening
from autotune.search.stored import flag, opened, resume_command, written
from autotune.studies import urls
from autotune.studies.records import SearchState
from autotune.studies.store import Store


def run(
    name: str, terms: Mapping[str, Any], storage: str | None, form: str, interrupt: Interrupt
) -> int:
    """Work until the search is over or an interrupt comes; return the exit code."""
    with opened(storage) as store:
        store.search(name)  # refuses an unknown name before torch is loaded
    with devices.only(terms["device"]):
        return _run(name, terms, storage, form, interrupt)


def served(
    name: str,
    terms: Mapping[str, Any],
    server: tuple[str, str | None],
    form: str,
    interrupt: Interrupt,
) -> int:
    """Work for a service, given by its address and a token, as ``run``."""
    with devices.only(terms["device"]):
        from autotune.search.worker import Terms

        # Imported by name: the client depends on what is below, nothing depends on it.
        work = import_module("autotune.client.worker").work
        part = Terms(**{key: value for key, value in terms.items() if value is not None})
        given = {"server": server[0], "token": server[1], "terms": part}
        with listening(form) as listen:
            heard = interrupt.keeping(listen)
            complete = work(name, **given, listen=heard, halt=interrupt.halt)
    interrupt.over = True
    if complete:
        say(f"'{name}' is complete; {server[0]} tells what was found")
        return 0
    say(f"worker {part.name} left; the search goes on without it")
    return interrupt.exit_code if interrupt.signal is not None else 0


def _run(
    name: str, terms: Mapping[str, Any], storage: str | None, form: str, interrupt: Interrupt
) -> int:
    from autotune.search.worker import Terms, work

    part = Terms(**{key: value for key, value in terms.items() if value is not None})
    with (
        Store(urls.resolve(storage)) as store,
        listening(form) as listen,
    ):
        heard = interrupt.keeping(listen)
        search = work(name, store=store, terms=part, listen=heard, halt=interrupt.halt)
    interrupt.over = True
    if search.state is SearchState.COMPLETE:
        say(
            f"'{search.name}' is complete; look at it with: autotune show {written(search.name)}"
            f"{flag(storage)}"
        )
        return 0
    say(f"worker {part.name} left; go on with: {resume_command(search.name, storage)}")
    return interrupt.exit_code if interrupt.signal is not None else 0
