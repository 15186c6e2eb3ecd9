"""The options of ``autotune search`` that set keys of its spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from autotune.cli.shared.completion import registered, searches
from autotune.cli.shared.help import Option
from autotune.cli.shared.search_option import SearchOption
from autotune.cli.shared.trailing import pairs

FILE = click.Path(path_type=Path)

# The spec checks numbers, not click: its error names where a wrong number came from.
_FLAGS: dict[str, tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = {
    "What to tune": (
        (
            ("--model",),
            {
                "metavar": "NAME",
                "shell_complete": registered("models"),
                "help": "A name from autotune list models, or your own function as "
                "file.py:function. A command of your own stands behind -- instead.",
            },
        ),
        (
            ("--data",),
            {
                "metavar": "PATH",
                "help": "Data to train on, such as a folder of images.  [default: the model's]",
            },
        ),
        (
            ("--optimizer",),
            {
                "multiple": True,
                "metavar": "NAME",
                "shell_complete": registered("optimizers"),
                "help": "Optimizer to tune, another package's as torch.optim.RMSprop; repeat for "
                "several.  "
                "[default: adan, adamw-win2, adamw]",
            },
        ),
        (
            ("--controller",),
            {
                "metavar": "NAME",
                "shell_complete": registered("controllers"),
                "help": "What multiplies rates of the model's parts by what their gradients show: "
                "agvm or lanton.  [default: none]",
            },
        ),
        (
            ("--steps",),
            {
                "type": int,
                "help": "Training steps of a full run; of a command, in its own count.  "
                "[default: the model's; fewer where --minutes cannot pay for those]",
            },
        ),
        (("--batch-size",), {"type": int, "help": "Samples per step.  [default: the model's]"}),
        (
            ("--image-size",),
            {
                "type": int,
                "help": "Pixels of a side of the images that a model is trained on.  "
                "[default: the model's; fewer where --minutes cannot pay for those]",
            },
        ),
        (
            ("--space",),
            {
                "type": FILE,
                "metavar": "FILE",
                "help": "YAML file of ranges, choices and fixed values.",
            },
        ),
        (
            ("--try-first",),
            {
                "type": FILE,
                "metavar": "FILE",
                "help": "Settings to try after the default: of autotune import, or of autotune "
                "export --top N --as json.",
            },
        ),
    ),
    "What a command reports": (
        (
            ("--report",),
            {
                "metavar": "FILE",
                "help": "JSON lines or CSV that it writes, with {trial} in the path.  "
                "[default: lines as 'autotune step=100 loss=2.31', or autotune.report]",
            },
        ),
        (
            ("--metric",),
            {
                "multiple": True,
                "callback": pairs,
                "metavar": "NAME=COLUMN",
                "help": "Column of that file for step, loss or accuracy, such as step=epoch+1 or "
                "accuracy=top1/100; repeat for several.  [default: columns of these names]",
            },
        ),
    ),
    "Budget": (
        (("--trials",), {"type": int, "help": "Settings to try for each optimizer."}),
        (
            ("--runs",),
            {
                "type": float,
                "help": "Full runs to spend on each optimizer.  "
                "[default: 20 when no limit is given]",
            },
        ),
        (
            ("--minutes",),
            {
                "type": float,
                "help": "Minutes for the whole search; the first limit reached ends it.",
            },
        ),
        (
            ("--patience",),
            {
                "type": int,
                "help": "End an optimizer's search after this many settings in a row without a new "
                "best.  [default: never]",
            },
        ),
        (("--seeds",), {"type": int, "help": "Fresh seeds to judge on.  [default: 3]"}),
    ),
    "How to run": (
        (
            ("--workers",),
            {"type": int, "help": "Trials to run at the same time.  [default: 2]"},
        ),
        (
            ("--engine",),
            {
                "metavar": "NAME",
                "shell_complete": registered("engines"),
                "help": "How trials run: processes, inline, batched or ray, described by "
                "autotune list engines.  [default: processes]",
            },
        ),
        (
            ("--device",),
            {
                "metavar": "NAME",
                "help": "Where trials compute: cpu, cuda, cuda:<index>, mps, or auto, which takes "
                "a GPU of CUDA or ROCm where there is one.  [default: auto]",
            },
        ),
        (
            ("--precision",),
            {
                "metavar": "NAME",
                "help": "What networks compute in: float32, bf16 or, on a GPU, fp16 with scaled "
                "losses, or auto: float32, but bf16 for convolutions on a GPU built for it.  "
                "[default: auto]",
            },
        ),
        (
            ("--per-gpu",),
            {"type": int, "help": "Trials at the same time on each GPU.  [default: 1]"},
        ),
        (
            ("--step-timeout",),
            {
                "type": float,
                "metavar": "SECONDS",
                "help": "Seconds without a finished step after which a trial has failed; start and "
                "evaluation may take 10 times that. In a loop of your own: seconds between two "
                "measurements.  [default: 20 times the slowest step, at least 60]",
            },
        ),
        (
            ("--ray-address",),
            {
                "metavar": "ADDRESS",
                "help": "Ray cluster to use, as auto or HOST:PORT.  [default: start one here]",
            },
        ),
        (
            ("--gpus-per-trial",),
            {"type": float, "help": "GPUs for each trial on Ray, such as 1 or 0.5."},
        ),
        (
            ("--record-norms",),
            {
                "is_flag": True,
                "default": None,
                "help": "Keep the norms of each step's gradient, for autotune refine.",
            },
        ),
        (
            ("--measure-noise",),
            {
                "is_flag": True,
                "default": None,
                "help": "Measure in judging runs how noisy gradients are: which batch they ask "
                "for, and where lr stops rising with it.",
            },
        ),
        (
            ("--sampler",),
            {
                "metavar": "NAME",
                "shell_complete": registered("samplers"),
                "help": "How settings are chosen: auto, random, sobol, tpe, gp, or a sampler of "
                "Optuna as optuna:CmaEsSampler.  [default: auto]",
            },
        ),
        (
            ("--pruner",),
            {
                "metavar": "NAME",
                "shell_complete": registered("pruners"),
                "help": "Which trials stop early: by auto, asha, hyperband, median, none, or a "
                "pruner of Optuna as optuna:MedianPruner.  [default: auto]",
            },
        ),
        (("--seed",), {"type": int, "help": "Seed of all random choices.  [default: 0]"}),
    ),
    "Which search, which files": (
        (
            ("--search",),
            {
                "cls": SearchOption,
                "metavar": "NAME",
                "help": "Name of the search.  [default: the model's]",
            },
        ),
        (
            ("--resume",),
            {
                "metavar": "NAME",
                "shell_complete": searches,
                "help": "Go on with a stored search; its budget may be raised.",
            },
        ),
        (
            ("-c", "--config", "files"),
            {
                "type": FILE,
                "multiple": True,
                "metavar": "FILE",
                "help": "Spec as YAML, JSON or TOML; repeat for several, later ones win.",
            },
        ),
        (
            ("--set", "assignments"),
            {
                "multiple": True,
                "metavar": "KEY=VALUE",
                "help": "Set a key of the spec, such as space.lr.low=1e-4.",
            },
        ),
        (
            ("--dry-run",),
            {
                "is_flag": True,
                "help": "Print the settings, the plan and its cost; with --minutes, time steps.",
            },
        ),
    ),
}


def spec_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, under their headings."""
    options = [
        click.option(*names, **{"cls": Option, "heading": heading, **about})
        for heading, flags in _FLAGS.items()
        for names, about in flags
    ]
    for option in reversed(options):
        command = option(command)
    return command
