"""The layout of --help: options under headings, examples that can be pasted."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import click

EXAMPLE = "Example: "


class Option(click.Option):
    """An option listed under a heading."""

    def __init__(self, *args: Any, heading: str = "Options", **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.heading = heading


class Command(click.Command):
    """A command that lists options under headings and never wraps its examples."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the text, then each example on a line of its own."""
        text, *examples = cleandoc(self.help or "").split(EXAMPLE)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text.strip())
        for example in examples:
            formatter.write(f"\n  {EXAMPLE}{example.strip()}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order of declaration."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                headings.setdefault(getattr(parameter, "heading", "Options"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)
