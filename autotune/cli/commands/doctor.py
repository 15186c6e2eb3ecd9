"""``autotune doctor``: what is wrong with a database of searches."""

from __future__ import annotations

import click

from autotune.cli.shared.help import Command
from autotune.cli.shared.options import as_json, storage, talk
from autotune.cli.views.json import document


@click.command("doctor", cls=Command)
@click.option("--fix", is_flag=True, help="Mend what can be mended.")
@storage
@as_json
@talk
@click.pass_context
def command(ctx: click.Context, /, *, fix: bool, storage: str | None, as_json: bool) -> None:
    """Check a database: its schema, orphans, stale leases, and checkpoints.

    It exits with 0 when nothing is wrong or everything was mended, else with 4.

    Example: autotune doctor --fix
    """
    from autotune.cli.views import doctor

    found = doctor.findings(storage, fix=fix)
    if as_json:
        click.echo(document(findings=found))
    else:
        click.echo(doctor.text(found, storage, fix=fix))
    ctx.exit(0 if all(finding.mended for finding in found) else doctor.SICK)
