"""``autotune bench search``: compare search methods on recorded curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune.cli.shared.failures import INTERRUPTED
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import QUIET, as_json, verbosity
from autotune.cli.views.json import document
from autotune.cli.views.progress_line import progress_line
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
    help="Recorded curves of a grid (.npz); repeat for several, with equal weight.",
)
@click.option(
    "--reps",
    default=40,
    show_default=True,
    help="Repetitions; in each, all methods get the same seeds.",
)
@click.option(
    "--budget", default=30.0, show_default=True, metavar="RUNS", help="Full runs for each method."
)
@click.option(
    "--methods",
    default=METHODS,
    show_default=True,
    help="Methods, separated by commas. ours-planned runs a separate search for each budget; "
    "tpe-told and asha-told start with the settings that ours knows; "
    "ours/tpe/asha is ours with that sampler and that pruner.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trials at the same time, in simulated time.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of all random choices.")
@click.option("--out", type=_FILE, help="JSON file to write the results to.")
@click.option("--plot", type=_FILE, help="SVG file to draw regret over full runs to.")
@as_json
@verbosity
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

    Every method sees half of a table's seeds. The setting that it recommends after 2, 5, 10, ...
    full runs is judged on the other half by its regret: 0 is the best setting of the table, 1 the
    median one. Every run counts. + marks where ours is significantly better, - where it is worse.
    After Ctrl-C the repetitions so far are reported.

    Example: autotune bench search --table benchmarks/tables/digits_adan_win.npz --reps 40
    """
    from autotune.bench.search import methods as search_methods
    from autotune.bench.search import plot as search_plot
    from autotune.bench.search import repeat as search_repeat
    from autotune.bench.search import report as search_report
    from autotune.bench.search.table import read

    for path in (out, plot):
        _check_folder(path)
    protocol = search_repeat.Protocol(reps=reps, runs=budget, workers=workers, seed=seed)
    chosen = search_methods.named([name.strip() for name in methods.split(",")])
    found = [read(path) for path in tables]
    with progress_line(quiet=bool(ctx.meta.get(QUIET))) as show:
        records, complete = search_repeat.repeat(found, chosen, protocol, show)
    report = search_report.Report(records=records, protocol=protocol, complete=complete)
    text = document(**report.as_data()) if as_json or out else ""
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    if plot is not None:
        plot.write_text(search_plot.picture(records, protocol.checkpoints), encoding="utf-8")
    click.echo(text if as_json else _text(report))
    if not complete:
        ctx.exit(INTERRUPTED)


def _check_folder(path: Path | None) -> None:
    """Refuse a file in a missing folder now, before minutes are spent on its content."""
    if path is not None and not path.absolute().parent.is_dir():
        raise SpecError(f"{path} is in a folder that does not exist: {path.absolute().parent}")


def _text(report: Report) -> str:
    from autotune.bench.search import report as sections

    checkpoints = report.protocol.checkpoints
    parts = []
    for record in report.records:
        parts += [sections.header(record, report), table(sections.medians(record, checkpoints))]
        parts.append(sections.floor(record))
        if report.others:
            parts.append(table(sections.compared(report, [record])))
    if len(report.records) > 1 and report.others:
        parts += ["all tables", table(sections.compared(report, report.records))]
    if report.others:
        parts += [table(sections.ranked(report)), "\n".join(sections.conclusions(report))]
    if not report.complete:
        parts.append(
            f"interrupted after {report.reps} of {report.protocol.reps} repetitions: "
            "the numbers above are of those"
        )
    return "\n\n".join(parts)
