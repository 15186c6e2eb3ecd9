"""How a command ends badly: one sentence on stderr and an exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from autotune.errors import AutotuneError

DEBUG = "autotune.debug"
INTERRUPTED = 130


class Refused(click.ClickException):
    """A failure that is already one sentence."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.code = exit_code


@contextmanager
def told(ctx: click.Context) -> Iterator[None]:
    """Turn what a command raises into one sentence, after its traceback where asked."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception as error:
        if ctx.meta.get(DEBUG) or os.environ.get("AUTOTUNE_DEBUG"):
            click.echo(traceback.format_exc(), err=True, nl=False)
        raise _refused(error) from error


def _refused(error: Exception) -> Refused:
    if isinstance(error, AutotuneError):
        return Refused(str(error), error.exit_code)
    text = " ".join(str(error).split())
    name = type(error).__name__
    return Refused(
        f"{name}: {text}; run again with --debug for the traceback"
        if text
        else f"{name}; run again with --debug for the traceback",
        1,
    )


def code(run: Callable[[], object]) -> int:
    """Return the exit code of ``run``, having said what went wrong."""
    try:
        result = run()
    except Refused as error:
        return _say(error.format_message(), error.code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _say(_sentence(error), error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _sentence(error: click.ClickException) -> str:
    """Rewrite click's sentences in this project's form."""
    text = error.format_message().rstrip(".")
    text = text.replace("'. Did you mean", "'; did you mean")
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"; see {error.ctx.command_path} --help"
    return text[:1].lower() + text[1:] + hint


def _say(sentence: str, exit_code: int) -> int:
    click.echo(f"error: {sentence}", err=True)
    return exit_code
