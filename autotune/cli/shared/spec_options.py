"""The flags of ``autotune search`` that set keys of its spec, and the files behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from autotune.cli.shared.completion import registered, searches
from autotune.cli.shared.help import Option
from autotune.cli.shared.search_option import SearchOption

FILE = click.Path(path_type=Path)

# Numbers are checked by the spec, which names the source of a wrong one, not by click.
_FLAGS: dict[str, tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = {
    "What to tune": (
        (
            ("--model",),
            {
                "metavar": "NAME",
                "shell_complete": registered("models"),
                "help": "A registered model, or your own as file.py:function, which may take "
                "seed and classes.",
            },
        ),
        (("--data",), {"metavar": "PATH", "help": "Data to train on instead of the model's own."}),
        (
            ("--optimizer",),
            {
                "multiple": True,
                "metavar": "NAME",
                "shell_complete": registered("optimizers"),
                "help": "One to tune; repeat for several.  [default: adan, adamw-win2, adamw]",
            },
        ),
        (("--steps",), {"type": int, "help": "Steps of a full run."}),
        (("--batch-size",), {"type": int, "help": "Samples a step."}),
        (
            ("--space",),
            {"type": FILE, "metavar": "FILE", "help": "Ranges, choices or fixed values, as YAML."},
        ),
    ),
    "Budget": (
        (("--trials",), {"type": int, "help": "Settings to try for each optimizer."}),
        (
            ("--runs",),
            {
                "type": float,
                "help": "Full runs to spend on each.  [default: 20 when no limit is given]",
            },
        ),
        (
            ("--minutes",),
            {"type": float, "help": "Wall time of the whole search; the first limit ends it."},
        ),
        (
            ("--patience",),
            {
                "type": int,
                "help": "End an optimizer's search once this many settings in a row did not take "
                "the lead.  [default: none, the budget is spent]",
            },
        ),
        (("--seeds",), {"type": int, "help": "Fresh seeds to judge on.  [default: 3]"}),
    ),
    "How": (
        (("--workers",), {"type": int, "help": "Trials side by side.  [default: 2]"}),
        (
            ("--engine",),
            {
                "metavar": "NAME",
                "shell_complete": registered("engines"),
                "help": "Where trials run: processes, inline, ray, or batched for models that "
                "train side by side.  [default: processes]",
            },
        ),
        (
            ("--ray-address",),
            {
                "metavar": "ADDRESS",
                "help": "A Ray cluster, as auto or HOST:PORT.  [default: one for this search]",
            },
        ),
        (
            ("--gpus-per-trial",),
            {"type": float, "help": "GPUs a trial needs on Ray, or a part of one."},
        ),
        (
            ("--sampler",),
            {
                "metavar": "NAME",
                "shell_complete": registered("samplers"),
                "help": "Who proposes settings: auto, random, sobol, tpe, gp, or any of Optuna's "
                "as optuna:CmaEsSampler.  [default: auto]",
            },
        ),
        (
            ("--pruner",),
            {
                "metavar": "NAME",
                "shell_complete": registered("pruners"),
                "help": "Who decides which trials go on: auto, asha, hyperband, median, none, or "
                "any of Optuna's as optuna:MedianPruner.  [default: auto]",
            },
        ),
        (("--seed",), {"type": int, "help": "Seed of everything random.  [default: 0]"}),
    ),
    "Where from": (
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
                "help": "A spec as YAML, JSON or TOML; repeat, later ones win.",
            },
        ),
        (
            ("--set", "assignments"),
            {
                "multiple": True,
                "metavar": "KEY=VALUE",
                "help": "Any key of a spec, such as space.lr.low=1e-4.",
            },
        ),
        (
            ("--dry-run",),
            {"is_flag": True, "help": "Print the settings, the plan and its cost; run nothing."},
        ),
    ),
}


def spec_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags, under their headings."""
    options = [
        click.option(*names, **{"cls": Option, "heading": heading, **about})
        for heading, flags in _FLAGS.items()
        for names, about in flags
    ]
    for option in reversed(options):
        command = option(command)
    return command
