"""``autotune doctor``: find and repair what is wrong with a database of searches."""

from __future__ import annotations

import click

from autotune.cli.shared.help import Command
from autotune.cli.shared.options import as_json, storage, verbosity
from autotune.cli.views.json import document


@click.command("doctor", cls=Command)
@click.option("--fix", is_flag=True, help="Repair what can be repaired.")
@storage
@as_json
@verbosity
@click.pass_context
def command(ctx: click.Context, /, *, fix: bool, storage: str | None, as_json: bool) -> None:
    """Check a database: schema, orphaned rows, stale leases and checkpoints.

    The exit code is 0 if nothing is wrong or everything was repaired, else 4.

    Example: autotune doctor --fix
    """
    from autotune.cli.views import doctor

    found = doctor.findings(storage, fix=fix)
    if as_json:
        click.echo(document(findings=found))
    else:
        click.echo(doctor.text(found, storage, fix=fix))
    ctx.exit(0 if all(finding.mended for finding in found) else doctor.PROBLEMS)
