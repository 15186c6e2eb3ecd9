"""``autotune search``: find good settings, then judge the best ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autotune.cli.shared.interrupt import interruptible
from autotune.cli.shared.options import QUIET, as_json, storage, verbosity
from autotune.cli.shared.spec_options import spec_options
from autotune.cli.shared.stdout import reserved
from autotune.cli.shared.trailing import Trailing
from autotune.cli.views.progress import progress


@click.command("search", cls=Trailing)
@spec_options
@progress
@storage
@as_json
@verbosity
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    files: tuple[Path, ...],
    space: Path | None,
    try_first: Path | None,
    assignments: tuple[str, ...],
    resume: str | None,
    dry_run: bool,
    progress: str,
    storage: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Search for the best settings of optimizers, and judge them on fresh seeds.

    To go on with an interrupted search, repeat the command. Betas are close to one, as in torch.
    COMMAND trains for one trial, by default one at a time: {args} in it becomes the setting; the
    rest is in docs/commands.md.

    Example: autotune search --model gpt-nano --optimizer adan --optimizer adamw --minutes 1
    Example: autotune search --model train.py:problem --data ./images --set space.lr.high=1e-2
    Example: autotune search --steps 1000 --optimizer adan -- python train.py {args}
    """
    # Before the imports: an interrupt during an import may be lost.
    with interruptible() as interrupt, reserved() as stdout:
        from autotune.cli.commands import run_search
        from autotune.cli.views import plan
        from autotune.config import Request

        request = Request(
            flags=flags, files=files, space=space, try_first=try_first, assignments=assignments
        )
        resolved = run_search.resolve_request(request, storage, resume)
        form = "off" if ctx.meta.get(QUIET) else progress
        if dry_run:
            try:
                text = plan.dry_run_text(resolved, storage, as_json, form, interrupt.halt)
            except KeyboardInterrupt:
                raise click.Abort from None
            click.echo(text, file=stdout)
            return
        ended = run_search.run(resolved.spec, storage, form, interrupt)
        if ended.comparison is not None:
            click.echo(run_search.result_text(ended.comparison, storage, as_json), file=stdout)
    ctx.exit(ended.exit_code)
