"""``autotune dashboard``: show searches in a browser."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from autotune.cli.shared.help import Command
from autotune.cli.shared.options import storage, verbosity
from autotune.errors import SpecError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command("dashboard", cls=Command)
@click.option("--host", default=LOOPBACK[0], show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8501,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--browser/--no-browser", default=True, help="Open a browser.")
@click.option("--allow-remote", is_flag=True, help="Allow a --host that other machines can reach.")
@click.option(
    "--allow-control", is_flag=True, help="Let viewers stop, pause and continue searches."
)
@click.option(
    "--benchmarks",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Show the results of autotune bench step that were saved there.",
)
@click.option("--base-path", default="", help="Path under which a proxy shows it, as in /tuning.")
@storage
@verbosity
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    host: str,
    port: int,
    browser: bool,
    allow_remote: bool,
    allow_control: bool,
    benchmarks: Path | None,
    base_path: str,
    storage: str | None,
) -> None:
    """Show searches in a browser.

    Example: autotune dashboard --port 8501
    """
    if host not in LOOPBACK and not allow_remote:
        raise SpecError(
            f"--host must be one of {', '.join(LOOPBACK)}, got {host}; "
            "the dashboard asks nobody for a password: add --allow-remote to show it to others"
        )
    from autotune.studies import urls

    # Imported by name: the dashboard depends on this package, not the other way round.
    serve = import_module("autotune.app.serve").serve
    allowed = import_module("autotune.app.terms").Terms(
        control=allow_control, benchmarks=benchmarks
    )
    try:
        ctx.exit(serve(urls.resolve(storage), host, port, browser, base_path, allowed))
    except KeyboardInterrupt:  # the usual way to stop a dashboard
        ctx.exit(0)
