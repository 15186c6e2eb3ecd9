"""The option --search NAME; its old name --study still works, for one more release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from autotune.cli.shared.help import Option

OLD = "--study"  # not in --help
_OLD_NAME = "study"


class SearchOption(Option):
    """``--search NAME``; also takes the old name, and tells about the new one."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser accept both names."""
        super().add_to_parser(parser, ctx)
        parser.add_option(obj=self, opts=[OLD], dest=_OLD_NAME)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        """Take the value given under the old name, where there is one."""
        if _OLD_NAME in opts:
            opts = self._renamed(ctx, opts)
        return super().consume_value(ctx, opts)

    def _renamed(self, ctx: click.Context, opts: Mapping[str, Any]) -> Mapping[str, Any]:
        new = self.opts[0]
        if self.name in opts:
            raise click.UsageError(f"{OLD} is the old name of {new}; give {new} alone", ctx)
        # The other options may not be processed yet, and programs read --progress json.
        silent = ctx.resilient_parsing or opts.get("quiet") or opts.get("progress") == "json"
        if not silent:
            click.echo(f"{OLD} is now {new}; {OLD} will be removed in the next release", err=True)
        return {**opts, str(self.name): opts[_OLD_NAME]}
