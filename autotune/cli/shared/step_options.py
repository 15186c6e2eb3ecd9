"""The flags of ``autotune bench step``."""

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
                "help": f"Whose tensors to step: {', '.join(SHAPES)}.",
            },
        ),
        (
            ("--optimizer", "optimizers"),
            {
                **_NAMES,
                "shell_complete": registered("optimizers"),
                "help": "One to measure; repeat for several.  [default: all]",
            },
        ),
        (
            ("--backend", "backends"),
            {**_NAMES, "help": "One to measure; repeat.  [default: all that run here]"},
        ),
        (
            ("--against",),
            {
                **_NAMES,
                "help": f"An optimizer of others, or {NOBODY}; repeat.  [default: all there are]",
            },
        ),
    ),
    "How": (
        (
            ("--dtype",),
            {
                "type": click.Choice(DTYPES),
                "default": DTYPES[0],
                "show_default": True,
                "help": "Of parameters and gradients.",
            },
        ),
        (
            ("--device",),
            {"type": click.Choice(DEVICES), "help": "Where.  [default: cuda, or cpu without one]"},
        ),
        (
            ("--threads",),
            {"type": _COUNT, "default": 1, "show_default": True, "help": "Of PyTorch, on CPUs."},
        ),
        (
            ("--repeats", "rounds"),
            {"type": _COUNT, "default": 5, "show_default": True, "help": "Rounds of everyone."},
        ),
        (
            ("--first-steps/--no-first-steps",),
            {"default": True, "help": "Time first steps too, in new processes."},
        ),
        (
            ("--save",),
            {
                "type": click.Path(path_type=Path),
                "metavar": "FILE",
                "help": "Also write the JSON document.",
            },
        ),
    ),
}


def step_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags, under their headings."""
    options = [
        click.option(*names, cls=Option, heading=heading, **about)
        for heading, flags in _FLAGS.items()
        for names, about in flags
    ]
    for option in reversed(options):
        command = option(command)
    return command
