"""``autotune bench record``: record the curves that ``autotune bench search`` replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune.cli.shared.failures import INTERRUPTED
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import QUIET, say, verbosity
from autotune.cli.views.progress_line import progress_line
from autotune.errors import SpecError
from autotune.studies.names import PRECISIONS

if TYPE_CHECKING:
    from autotune.bench.search.record import Recording


@click.command("record", cls=Command)
@click.option(
    "--model", required=True, help="A name from autotune list models, or file.py:function."
)
@click.option("--data", help="Data to train on, as for autotune search.")
@click.option("--steps", type=int, help="Steps of a full run.  [default: the model's]")
@click.option("--batch-size", type=int, help="Samples per step.  [default: the model's]")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Where to train: auto, cpu, cuda, cuda:<index> or mps.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    metavar="NAME",
    help="What to compute in: auto, float32, bf16 or fp16.",
)
@click.option("--optimizer", default="adan-win", show_default=True, help="Optimizer to record.")
@click.option(
    "--grid",
    default="default",
    show_default=True,
    metavar="FILE",
    help="YAML or JSON file with a list of values for each parameter.",
)
@click.option(
    "--seeds",
    default=6,
    show_default=True,
    help="Runs of each setting, each with a seed of its own.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Table to write (.npz).",
)
@verbosity
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    optimizer: str,
    grid: str,
    seeds: int,
    device: str,
    precision: str,
    out: Path,
    **asked: Any,
) -> None:
    """Train every setting of a grid on several seeds, and write the losses to a table.

    A grid may have the parameters lr, weight_decay, reckless and one_minus_beta1 to 3. Small models
    are trained side by side. Ctrl-C keeps the finished runs; repeat the command to go on.

    Example: autotune bench record --model mlp --grid default --out mlp.npz
    """
    from autotune import devices
    from autotune.bench.search import record
    from autotune.tasks.resolve import chosen, in_precision, resolve

    if out.suffix != ".npz":
        raise SpecError(f"a table's name must end in .npz, got {out}")
    if not out.absolute().parent.is_dir():
        raise SpecError(f"{out} is in a folder that does not exist: {out.absolute().parent}")
    given = {name: value for name, value in asked.items() if value is not None}
    with devices.only(device) as place:
        task = in_precision(chosen(resolve(**given), place), precision)
        _record(ctx, record.plan(task, given, optimizer, _grid(grid), seeds), out)


def _record(ctx: click.Context, what: Recording, out: Path) -> None:
    from autotune.bench.search import record
    from autotune.training.process import single_threaded

    kept = record.progress(what, out)
    after = f", goes on after {kept}" if kept else ""
    say(f"{what.settings} settings, {what.seeds} seeds: {what.runs} runs{after}")
    single_threaded()
    with progress_line(quiet=bool(ctx.meta.get(QUIET))) as show:
        complete = record.record(what, out, show)
    if not complete:
        say(f"interrupted after {record.progress(what, out)} runs; the same command goes on")
        ctx.exit(INTERRUPTED)
    click.echo(f"{out}: {what.runs} runs, rungs at {', '.join(map(str, what.rungs))} steps")


def _grid(text: str) -> Mapping[str, Sequence[float]]:
    from autotune.bench.search import record

    return record.DEFAULT if text == "default" else _read(Path(text))


def _read(path: Path) -> Mapping[str, Sequence[float]]:
    """Return a grid's values by parameter."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise SpecError(f"{path}: a grid must be YAML or JSON") from None
    if not isinstance(found, Mapping) or not all(_numbers(values) for values in found.values()):
        raise SpecError(f"{path}: a grid must map each parameter to a list of numbers")
    return {str(name): values for name, values in found.items()}


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) in {int, float} for value in values)
