"""The options of a command that restates a setting for another run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from autotune.cli.shared import completion
from autotune.cli.shared.options import Decorator
from autotune.errors import SpecError
from autotune.transfer import DEFAULT
from autotune.transfer.targets import Target

_OPTIONS: tuple[Decorator, ...] = (
    click.option("--target-batch", metavar="N|4x", help="Samples of a batch in your run."),
    click.option("--target-steps", metavar="N|5x", help="Optimizer steps of your run."),
    click.option("--target-epochs", metavar="N", help="Epochs of your run, instead of steps."),
    click.option("--target-samples", metavar="N", help="Samples of an epoch, for epochs."),
    click.option(
        "--target-width", metavar="4x", help="Hidden units of your model; see rule width."
    ),
    click.option(
        "--noise-scale",
        type=float,
        metavar="N",
        help="Samples of a batch beyond which rule batch raises lr no further.",
    ),
    click.option(
        "--rule",
        "rules",
        multiple=True,
        metavar="NAME",
        shell_complete=completion.registered("rules"),
        help="Rule to restate by, or 'literature' for a set; repeat it.  "
        f"[default: {', '.join(DEFAULT)}]",
    ),
)
_KEYS = ("batch", "steps", "epochs", "samples", "width")


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, which ``target_of`` reads."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def target_of(noise_scale: float | None, **given: str | None) -> Target:
    """Return the target that the options say; raises SpecError."""
    words = {key: given[f"target_{key}"] for key in _KEYS}
    samples = words.pop("samples")
    if samples is not None and not samples.isdecimal():
        raise SpecError(f"target samples must be a whole number, got '{samples}'")
    return Target(**words, samples=int(samples) if samples else None, noise_scale=noise_scale)
