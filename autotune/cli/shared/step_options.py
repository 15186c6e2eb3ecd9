"""The options of ``autotune bench step``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from autotune.bench.step.workload import DEVICES, DTYPES, NOBODY, SHAPES
from autotune.cli.shared.completion import registered
from autotune.cli.shared.help import Option

_COUNT = click.IntRange(min=1)
_NAMES = {"multiple": True, "metavar": "NAME"}

_FLAGS: dict[str, tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = {
    "What to measure": (
        (
            ("--shapes",),
            {
                "default": "resnet50",
                "show_default": True,
                "metavar": "NAME",
                "help": f"Model whose parameters are stepped: {', '.join(SHAPES)}.",
            },
        ),
        (
            ("--optimizer", "optimizers"),
            {
                **_NAMES,
                "shell_complete": registered("optimizers"),
                "help": "Optimizer to measure; repeat for several.  [default: all but muon, whose "
                "products take seconds]",
            },
        ),
        (
            ("--backend", "backends"),
            {
                **_NAMES,
                "help": "Kernel backend to measure; repeat for several.  "
                "[default: all that run here]",
            },
        ),
        (
            ("--against",),
            {
                **_NAMES,
                "help": f"Optimizer of another package to compare with, or {NOBODY}; repeat for "
                "several.  "
                "[default: all installed]",
            },
        ),
    ),
    "How to measure": (
        (
            ("--dtype",),
            {
                "type": click.Choice(DTYPES),
                "default": DTYPES[0],
                "show_default": True,
                "help": "Type of parameters and gradients.",
            },
        ),
        (
            ("--device",),
            {
                "type": click.Choice(DEVICES),
                "help": "Device to measure on.  [default: cuda if there is one, else cpu]",
            },
        ),
        (
            ("--threads",),
            {
                "type": _COUNT,
                "default": 1,
                "show_default": True,
                "help": "Threads that PyTorch uses on a CPU.",
            },
        ),
        (
            ("--repeats", "rounds"),
            {
                "type": _COUNT,
                "default": 5,
                "show_default": True,
                "help": "Rounds; each measures every optimizer.",
            },
        ),
        (
            ("--first-steps/--no-first-steps",),
            {"default": True, "help": "Also time each first step, in a new process."},
        ),
        (
            ("--save",),
            {
                "type": click.Path(path_type=Path),
                "metavar": "FILE",
                "help": "Also write the results there, as JSON.",
            },
        ),
    ),
}


def step_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, under their headings."""
    options = [
        click.option(*names, cls=Option, heading=heading, **about)
        for heading, flags in _FLAGS.items()
        for names, about in flags
    ]
    for option in reversed(options):
        command = option(command)
    return command
