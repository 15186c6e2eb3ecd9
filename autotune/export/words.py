"""Words of a command line as a file that a shell sources."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

NAME = "AUTOTUNE"


def array(words: Sequence[str]) -> str:
    """Return words as an array of bash, an option a line.

    Args:
        words: Options, each before its values.
    """
    return f"{NAME}=(\n{''.join(f'  {line}{chr(10)}' for line in _options(words))})\n"


def _options(words: Sequence[str]) -> Iterator[str]:
    line: list[str] = []
    for word in words:
        if word.startswith("--") and line:
            yield shlex.join(line)
            line = []
        line.append(word)
    yield shlex.join(line)
