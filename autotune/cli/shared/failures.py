"""Errors of a command: one sentence on stderr, and an exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

import click

from autotune.errors import AutotuneError, MissingExtra
from autotune.optimizers.plugins import BrokenPlugin

DEBUG = "autotune.debug"
INTERRUPTED = 130


class CommandError(click.ClickException):
    """An error with its sentence and its exit code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.code = exit_code


@contextmanager
def as_command_error(ctx: click.Context) -> Iterator[None]:
    """Turn an exception into a CommandError; with --debug, print its traceback first."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception as error:
        if ctx.meta.get(DEBUG) or os.environ.get("AUTOTUNE_DEBUG"):
            click.echo(traceback.format_exc(), err=True, nl=False)
        raise _command_error(error) from error


def _command_error(error: Exception) -> CommandError:
    if isinstance(error, AutotuneError):
        notes = getattr(error, "__notes__", ())  # where in the user's code it came from
        return CommandError("\n".join([str(error), *notes]), error.exit_code)
    if isinstance(error, BrokenPlugin):
        return CommandError(str(error), MissingExtra.exit_code)
    text = " ".join(str(error).split())
    name = type(error).__name__
    return CommandError(
        f"{name}: {text}; run again with --debug for the traceback"
        if text
        else f"{name}; run again with --debug for the traceback",
        1,
    )


def exit_code(run: Callable[[], object]) -> int:
    """Call ``run``, print its error if it has one, and return the exit code."""
    try:
        result = run()
    except CommandError as error:
        return _print_error(error.format_message(), error.code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _print_error(_sentence(error), error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _sentence(error: click.ClickException) -> str:
    """Rewrite a sentence of click in the form of this project's errors."""
    text = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        nearest = get_close_matches(error.option_name, error.possibilities, n=1, cutoff=0.0)[0]
        text = f"no such option '{error.option_name}'; did you mean '{nearest}'?"
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"; see {error.ctx.command_path} --help"
    return text[:1].lower() + text[1:] + hint


def _print_error(sentence: str, code: int) -> int:
    click.echo(f"error: {sentence}", err=True)
    return code
