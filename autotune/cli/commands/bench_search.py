"""``autotune bench search``: this project's search beside others, on recorded curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune.cli.shared.failures import INTERRUPTED
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import QUIET, as_json, talk
from autotune.cli.views.json import document
from autotune.cli.views.progress_line import ticking
from autotune.cli.views.table import table
from autotune.errors import SpecError

if TYPE_CHECKING:
    from autotune.bench.search.report import Report

METHODS = "ours,random,random2x,sobol,tpe,gp,asha,default"

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("search", cls=Command)
@click.option(
    "--table",
    "tables",
    type=_FILE,
    multiple=True,
    required=True,
    help="Recorded curves of a grid (.npz); repeat for several, which weigh alike.",
)
@click.option("--reps", default=40, show_default=True, help="Repetitions, paired over methods.")
@click.option(
    "--budget", default=30.0, show_default=True, metavar="RUNS", help="Full runs for each method."
)
@click.option(
    "--methods",
    default=METHODS,
    show_default=True,
    help="Methods, separated by commas; ours-planned searches anew for each budget read, "
    "tpe-told and asha-told begin with the settings that ours knows, "
    "ours/tpe/asha is ours with that sampler and that pruner.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trials side by side, in simulated time.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--out", type=_FILE, help="File to write the JSON document to.")
@click.option("--plot", type=_FILE, help="SVG file to draw regret against full runs in.")
@as_json
@talk
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    tables: tuple[Path, ...],
    reps: int,
    budget: float,
    methods: str,
    workers: int,
    seed: int,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare this project's search with others at equal compute, on recorded curves.

    Every method sees half of a table's seeds; what it recommends after 2, 5, 10, ... full runs is
    judged on the others, as regret: 0 is the best setting of the table, 1 the median one. Every run
    counts. + marks where ours is better than the other and - where it is worse, by interval and
    test. Ctrl-C reports the repetitions played so far.

    Example: autotune bench search --table benchmarks/tables/digits_adan_win.npz --reps 40
    """
    from autotune.bench.search import methods as search_methods
    from autotune.bench.search import plot as search_plot
    from autotune.bench.search import repeat as search_repeat
    from autotune.bench.search import report as search_report
    from autotune.bench.search.table import read

    for path in (out, plot):
        _check(path)
    protocol = search_repeat.Protocol(reps=reps, runs=budget, workers=workers, seed=seed)
    chosen = search_methods.named([name.strip() for name in methods.split(",")])
    found = [read(path) for path in tables]
    with ticking(quiet=bool(ctx.meta.get(QUIET))) as ticked:
        records, complete = search_repeat.repeat(found, chosen, protocol, ticked)
    report = search_report.Report(records=records, protocol=protocol, complete=complete)
    text = document(**report.as_data()) if as_json or out else ""
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    if plot is not None:
        plot.write_text(search_plot.picture(records, protocol.checkpoints), encoding="utf-8")
    click.echo(text if as_json else _told(report))
    if not complete:
        ctx.exit(INTERRUPTED)


def _check(path: Path | None) -> None:
    """Refuse a file that cannot be written before minutes are spent on what goes into it."""
    if path is not None and not path.absolute().parent.is_dir():
        raise SpecError(f"{path} is in a folder that does not exist: {path.absolute().parent}")


def _told(report: Report) -> str:
    from autotune.bench.search import report as told

    checkpoints = report.protocol.checkpoints
    parts = []
    for record in report.records:
        parts += [told.header(record, report), table(told.medians(record, checkpoints))]
        parts.append(told.floor(record))
        if report.others:
            parts.append(table(told.compared(report, [record])))
    if len(report.records) > 1 and report.others:
        parts += ["all tables", table(told.compared(report, report.records))]
    if report.others:
        parts += [table(told.ranked(report)), "\n".join(told.conclusions(report))]
    if not report.complete:
        parts.append(
            f"interrupted after {report.reps} of {report.protocol.reps} repetitions: "
            "the numbers above are of those"
        )
    return "\n\n".join(parts)
