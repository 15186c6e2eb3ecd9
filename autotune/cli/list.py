"""``autotune list``: the searches of a database, or what is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from autotune.cli import catalog, words
from autotune.cli.document import document
from autotune.cli.help import Command
from autotune.cli.options import as_json, say, storage, talk
from autotune.cli.table import table

if TYPE_CHECKING:
    from autotune.studies.records import SearchRecord

KINDS = ("searches", *catalog.GROUPS)


@click.command("list", cls=Command)
@click.argument("kind", type=click.Choice(KINDS), default="searches", metavar="[KIND]")
@storage
@as_json
@talk
def command(kind: str, storage: str | None, as_json: bool) -> None:
    """List searches, or what is registered.

    KIND is searches, optimizers, models, exports, samplers or engines.

    Example: autotune list
    Example: autotune list optimizers
    """
    if kind == "searches":
        _searches(storage, as_json)
    else:
        _registered(kind, as_json)


def _registered(kind: str, as_json: bool) -> None:
    described = catalog.described(kind)
    if as_json:
        items = [{"name": name, "summary": line} for name, line in described.items()]
        click.echo(document(**{kind: items}))
    else:
        click.echo(table([("name", ""), *described.items()]))


def _searches(storage: str | None, as_json: bool) -> None:
    from autotune.cli.stored import found

    searches = found(storage)
    if as_json:
        click.echo(document(searches=searches))
    elif searches:
        header = ("name", "model", "optimizers", "trials", "best", "state", "last activity")
        click.echo(table([header, *(_row(search) for search in searches)]))
    else:
        say("no searches yet; begin one with: autotune search --model gpt-nano --minutes 1")


def _row(search: SearchRecord) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for study in search.studies:
        for state, count in study.counts.items():
            counts[state] = counts.get(state, 0) + count
    best = min(((s.best, s.optimizer) for s in search.studies if s.best is not None), default=None)
    return (
        search.name,
        str(search.task.get("model", words.NONE)),
        " ".join(study.optimizer for study in search.studies),
        words.counts(counts),
        f"{words.loss(best[0])} {best[1]}" if best else words.NONE,
        search.state,
        words.moment(search.updated),
    )
