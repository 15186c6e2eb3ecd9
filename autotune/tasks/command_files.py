"""The files that a command names, such as its script: what they do is a part of the task."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from autotune.tasks.content import beside, differing, meaning_of
from autotune.tasks.surroundings import outside

_WHOLE = 16 << 20  # bytes of a file that is read to its end
_PART = 1 << 20  # bytes read at both ends of a larger one
_PYTHON = "-m"


def contents(command: Sequence[str]) -> dict[str, str]:
    """Return hashes of the files that a command names, and of what its Python files import.

    Args:
        command: Its words; paths are looked for from the working directory of the search.

    Returns:
        Hashes by path as the command writes it. The program itself is left out unless it is a
        script: each machine has its own Python.
    """
    with outside():
        return {name: content for file in _files(command) for name, content in _of(file)}


def _files(command: Sequence[str]) -> Iterator[Path]:
    for place, word in enumerate(command):
        path = Path(word.partition("=")[2] if word.startswith("-") else word)
        if place and command[place - 1] == _PYTHON:
            path = _module(word)
        if path.name and path.is_file() and (place or _is_script(path)):
            yield path


def _module(name: str) -> Path:
    """Return the file of ``python -m name`` below the working directory."""
    place = Path(*name.split("."))
    main = place / "__main__.py"
    return main if main.is_file() else place.with_suffix(".py")


def _is_script(path: Path) -> bool:
    """Return whether a program is a text of the user's, not one of an environment's."""
    if path.with_name("python").exists():
        return False
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def _of(file: Path) -> Iterator[tuple[str, str]]:
    yield str(file), _hash(file)
    if file.suffix == ".py":
        for name in beside(file, file.read_bytes()):
            module = file.parent / name
            yield str(module), _hash(module)


def _hash(file: Path) -> str:
    """Return the hash of what a Python file does, else of what is in a file."""
    try:
        if file.suffix == ".py":
            return meaning_of(file.read_bytes())
        return _bytes_of(file)
    except OSError:
        return ""


def _bytes_of(file: Path) -> str:
    """Return the hash of a file; of a large one, of its size and both its ends."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= _WHOLE:
            return sha256(opened.read()).hexdigest()
        found = sha256(f"{size}:".encode() + opened.read(_PART))
        opened.seek(-_PART, os.SEEK_END)
        found.update(opened.read())
    return found.hexdigest()


def edited(expected: Mapping[str, str]) -> list[str]:
    """Return which files of a command are not what is expected, by path."""
    with outside():
        return differing(expected, {name: _hash(Path(name)) for name in expected})
