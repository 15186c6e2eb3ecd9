"""The output of a command in files of bounded size: its beginning and its end.

The beginning is one file; what follows is cut into pieces named by where they begin, of which the
last ones are kept. A reader finds by these names how much is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

HEAD = 1 << 20  # bytes of the beginning
PIECE = 5 << 20  # bytes of a piece
KEPT = 3  # pieces: the last one is still growing, so at least twice PIECE bytes of the end are kept
LINES = 20  # lines of the end that are kept with a failure
LONGEST = 500  # characters of each
_END = 64 << 10  # bytes in which these lines are looked for
_BREAK = re.compile(r"\r\n|\r|\n")  # a progress bar writes its line again and again


class Log:
    """Writes what a command prints.

    Args:
        path: File of the beginning; pieces have its name with a number behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0
        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("wb", buffering=0)
        self._left = HEAD  # bytes until the next piece begins
        self._pieces: list[Path] = []

    def write(self, data: bytes) -> None:
        """Write what was printed."""
        while data:
            part, data = data[: self._left], data[self._left :]
            self._file.write(part)
            self._written += len(part)
            self._left -= len(part)
            if not self._left:
                self._next()

    def _next(self) -> None:
        self._file.close()
        piece = self.path.with_name(f"{self.path.name}.{self._written}")
        self._file, self._left = piece.open("wb", buffering=0), PIECE
        self._pieces.append(piece)
        while len(self._pieces) > KEPT:
            self._pieces.pop(0).unlink(missing_ok=True)

    def close(self) -> None:
        """End the file."""
        self._file.close()


def files(path: Path) -> list[Path]:
    """Return the files of a log that are there, in order."""
    pieces = [each for each in path.parent.glob(f"{path.name}.*") if each.suffix[1:].isdigit()]
    return [each for each in (path, *sorted(pieces, key=_begin)) if each.is_file()]


def _begin(piece: Path) -> int:
    return int(piece.suffix[1:])


def remove(path: Path) -> None:
    """Delete a log."""
    for file in files(path):
        file.unlink(missing_ok=True)


def read(path: Path) -> Iterator[bytes]:
    """Yield what is kept of a log; where something is cut, a line says how much.

    Raises:
        FileNotFoundError: There is no log.
    """
    place = 0
    for file in files(path) or [path]:
        begin = 0 if file == path else _begin(file)
        if begin > place:
            yield f"\n[{begin - place} bytes are cut here]\n".encode()
        data = file.read_bytes()
        yield data
        place = begin + len(data)


def last_lines(path: Path, count: int = LINES) -> list[str]:
    """Return the last lines of a log that are not empty, without what a terminal would not print.

    Args:
        path: The log.
        count: How many lines at most.
    """
    end = b""
    for file in reversed(files(path)):
        end = _last_bytes(file, _END - len(end)) + end
        if len(end) >= _END:
            break
    lines = [_printable(line) for line in _BREAK.split(end.decode("utf-8", "replace"))]
    return [line[:LONGEST] for line in lines if line.strip()][-count:]


def _last_bytes(file: Path, count: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - count))
        return opened.read(count)


_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _printable(line: str) -> str:
    plain = _ESCAPE.sub("", line).replace("\t", "    ")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain).rstrip()
