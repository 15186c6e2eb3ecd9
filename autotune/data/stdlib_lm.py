"""The source of Python's standard library as bytes to predict: real text on every machine.

It differs between Python versions, so losses compare only within one hash.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autotune.data.base import Batch
from autotune.data.order import indices
from autotune.data.tokens import Part, Tokens
from autotune.errors import SpecError

NAME = "stdlib-lm"
_LEFT_OUT = {
    "__pycache__",
    "dist-packages",
    "encodings",
    "idlelib",
    "lib2to3",
    "site-packages",
    "test",
    "tests",
}
_SMALLEST = 1_000_000  # bytes: less is a Python whose sources were stripped


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Bytes of the training files and of every tenth file, which validates."""

    train: Tensor
    validation: Tensor
    train_files: tuple[str, ...]
    validation_files: tuple[str, ...]
    sha256: str


def _sources(folder: Path) -> Iterator[Path]:
    """Yield source files in one order everywhere; what a build generates is left out."""
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        parts = path.relative_to(folder).parts
        generated = path.name.startswith("_sysconfigdata") or path.name == "sitecustomize.py"
        if not generated and not _LEFT_OUT.intersection(parts):
            yield path


@cache
def corpus(folder: Path | None = None) -> Corpus:
    """Return this Python's library, split by file."""
    folder = folder or Path(sysconfig.get_paths()["stdlib"])
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _sources(folder)}
    found = sum(map(len, files.values()))
    if found < _SMALLEST:
        raise SpecError(
            f"data 'stdlib-lm' needs the sources of Python's library, found {found} bytes of them "
            f"in {folder}; use a Python that ships its .py files, or a model of images"
        )
    names = list(files)
    train = [name for i, name in enumerate(names) if i % 10 != 9]
    validation = names[9::10]
    return Corpus(
        train=_tensor(files[name] for name in train),
        validation=_tensor(files[name] for name in validation),
        train_files=tuple(train),
        validation_files=tuple(validation),
        sha256=_digest(files),
    )


def _tensor(contents: Iterator[bytes]) -> Tensor:
    return torch.frombuffer(bytearray(b"".join(contents)), dtype=torch.uint8)


def _digest(files: Mapping[str, bytes]) -> str:
    digest = sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def tokens() -> Tokens:
    """Return the corpus as any other sequence of tokens."""
    text = corpus()
    return Tokens(
        name=NAME,
        vocabulary=256,
        train=Part(numbers=text.train.numpy(), where="Python's library"),
        held_out=Part(numbers=text.validation.numpy(), where="Python's library"),
        identity={"data_hash": text.sha256},
    )


@dataclass(frozen=True, kw_only=True)
class StdlibLM:
    """Windows of the corpus; the label of a byte is the next one."""

    context: int = 64
    validation_windows: int = 256
    name: str = NAME
    classes: int = 256

    @property
    def samples(self) -> int:
        """Return the windows of the training files."""
        return (len(corpus().train) - 1) // self.context

    def facts(self) -> Mapping[str, Any]:
        """Return name, hash of the corpus and sizes."""
        text = corpus()
        return {
            "data": self.name,
            "data_hash": text.sha256,
            "vocabulary": self.classes,
            "context": self.context,
            "train_bytes": len(text.train),
            "validation_size": self.validation_windows * self.context,
        }

    def batch(self, seed: int, step: int, size: int) -> Batch:
        """Return windows of the training files, each once an epoch."""
        text = corpus().train
        starts = self.context * indices(seed, step, size, self.samples)
        return self._windows(text, starts)

    def validation(self) -> Sequence[Batch]:
        """Return windows spread evenly over the validation files, in one batch."""
        text = corpus().validation
        last = len(text) - self.context - 1
        starts = torch.linspace(0, last, self.validation_windows, dtype=torch.float64).long()
        return [self._windows(text, starts)]

    def _windows(self, text: Tensor, starts: Tensor) -> Batch:
        windows = text[starts[:, None] + torch.arange(self.context + 1)].long()
        return windows[:, :-1], windows[:, 1:]
