"""Tables: the recorded curves of every setting of a grid, and their files."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.errors import SpecError
from autotune.studies import atomic

ARRAYS = ("names", "configs", "rungs", "losses", "grid_json")
CLOSE = 1e-6  # relative tolerance: files may round the same value differently

Floats = NDArray[np.floating[Any]]
Axes = Mapping[str, tuple[float, ...]]  # values by parameter, ascending


@dataclass(frozen=True, kw_only=True)
class Table:
    """The losses of every setting of a grid on several seeds; infinite once a run diverged.

    Args:
        name: Of the file, without its ending.
        axes: Values by parameter, ascending; settings are numbered as ``itertools.product`` would.
        rungs: Steps after which losses were measured; the last is a full run.
        losses: By seed, setting and rung.
        optimizer: Registry name of what was run; empty where the file does not say.
    """

    name: str
    axes: Axes
    rungs: tuple[int, ...]
    losses: Floats = field(repr=False)
    optimizer: str = ""

    def __post_init__(self) -> None:
        _check_axes(self.axes)
        _check_rungs(self.rungs)
        _check_losses(self.losses, math.prod(self.shape), len(self.rungs))

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the number of values of each parameter."""
        return tuple(map(len, self.axes.values()))

    @property
    def seeds(self) -> int:
        """Return the number of runs of each setting."""
        return len(self.losses)

    @property
    def target(self) -> int:
        """Return the steps of a full run."""
        return self.rungs[-1]

    def number(self, places: Sequence[int]) -> int:
        """Return the number of the setting with these indices on the axes."""
        return int(np.ravel_multi_index(tuple(places), self.shape))

    def setting(self, number: int) -> dict[str, float]:
        """Return a setting's values by parameter."""
        places = np.unravel_index(number, self.shape)
        pairs = zip(self.axes.items(), places, strict=True)
        return {name: values[int(place)] for (name, values), place in pairs}

    def curve(self, seed: int, number: int) -> list[tuple[int, float]]:
        """Return a run's steps and losses, up to and including the step at which it diverged."""
        curve = []
        for step, loss in zip(self.rungs, self.losses[seed, number].tolist(), strict=True):
            curve.append((step, loss))
            if math.isinf(loss):
                break
        return curve

    def only(self, seeds: Sequence[int]) -> Table:
        """Return a table with only these seeds, in this order."""
        return replace(self, losses=self.losses[list(seeds)].copy())


def _check_axes(axes: Mapping[str, tuple[float, ...]]) -> None:
    for name, values in axes.items():
        if not values or list(values) != sorted(set(values)):
            raise SpecError(f"axis '{name}' must have values in ascending order, got {values}")
        if not all(map(math.isfinite, values)):
            raise SpecError(f"axis '{name}' must have finite values, got {values}")
    if not axes:
        raise SpecError("a table must have at least one axis, got none")


def _check_rungs(rungs: Sequence[int]) -> None:
    if not rungs or rungs[0] < 1 or list(rungs) != sorted(set(rungs)):
        raise SpecError(f"rungs must be steps in ascending order from 1, got {tuple(rungs)}")


def _check_losses(losses: Floats, settings: int, rungs: int) -> None:
    if losses.ndim != 3 or losses.shape[1:] != (settings, rungs) or not len(losses):
        raise SpecError(
            f"losses must have the shape (seeds, {settings}, {rungs}) of its settings and rungs, "
            f"got {losses.shape}"
        )
    if not np.issubdtype(losses.dtype, np.floating):
        raise SpecError(f"losses must be floating-point numbers, got {losses.dtype}")
    wrong = int((np.isnan(losses) | np.isneginf(losses)).sum())
    if wrong:
        raise SpecError(
            f"losses must be numbers, or inf for a diverged run, got {wrong} that are NaN or -inf"
        )


def read(path: str | Path) -> Table:
    """Read the table of an ``.npz`` file; raises SpecError with the file's name."""
    try:
        return _table(Path(path).stem, _arrays(Path(path)))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def write(table: Table, path: str | Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write a table and how it was made; an old file is replaced only by a complete one."""
    settings = [list(table.setting(number).values()) for number in range(math.prod(table.shape))]
    save(
        Path(path),
        names=np.array(list(table.axes)),
        configs=np.array(settings),
        rungs=np.array(table.rungs),
        losses=table.losses.astype(np.float32),
        grid_json=np.array(json.dumps(dict(table.axes))),
        optimizer=np.array(table.optimizer),
        facts_json=np.array(json.dumps(dict(facts or {}))),
    )


def save(path: Path, **arrays: Any) -> None:
    """Write arrays to a file; an old file is replaced only by a complete one."""
    try:
        with atomic.writing(path) as file:
            np.savez_compressed(file, **arrays)
    except OSError as error:
        raise SpecError(f"{path}: cannot be written ({error.strerror})") from None


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file; objects are refused, because they would be unpickled."""
    # Opened here, because NumPy would leave a damaged file open.
    with unreadable(), path.open("rb") as file:
        return _checked(np.load(file, allow_pickle=False))


@contextmanager
def unreadable(path: Path | None = None) -> Iterator[None]:
    """Turn NumPy's errors for a damaged file into one sentence with the file's name."""
    prefix = "" if path is None else f"{path}: "
    try:
        yield
    except SpecError:
        raise
    except OSError as error:
        raise SpecError(f"{prefix}cannot be read ({error.strerror or 'it is damaged'})") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise SpecError(
            f"{prefix}a table must be an .npz file of plain numbers and texts"
        ) from None


def _checked(file: Any) -> dict[str, NDArray[Any]]:
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise SpecError("a table must be an .npz file, this is a single array")
    missing = [name for name in ARRAYS if name not in file]
    if missing:
        raise SpecError(
            f"a table must have {', '.join(ARRAYS)}, this one lacks {', '.join(missing)}"
        )
    return {name: file[name] for name in (*ARRAYS, "optimizer") if name in file}


def _table(name: str, arrays: Mapping[str, NDArray[Any]]) -> Table:
    axes = _axes(arrays["names"], arrays["grid_json"])
    rungs = arrays["rungs"]
    if rungs.ndim != 1 or not np.issubdtype(rungs.dtype, np.integer):
        raise SpecError(f"rungs must be a list of whole numbers, got {rungs.dtype} {rungs.shape}")
    _check_axes(axes)
    order = _order(axes, arrays["configs"])
    losses = arrays["losses"]
    _check_losses(losses, len(order), len(rungs))
    return Table(
        name=name,
        axes=axes,
        rungs=tuple(rungs.tolist()),
        losses=losses[:, order],
        optimizer=str(arrays["optimizer"]) if "optimizer" in arrays else "",
    )


def _axes(names: NDArray[Any], grid_json: NDArray[Any]) -> dict[str, tuple[float, ...]]:
    try:
        grid = json.loads(str(grid_json))
        axes = {str(name): tuple(sorted(map(float, values))) for name, values in grid.items()}
    except (ValueError, TypeError, AttributeError):
        raise SpecError("grid_json must map each name to a list of numbers") from None
    listed = [str(name) for name in names.reshape(-1)]
    if sorted(listed) != sorted(axes):
        raise SpecError(
            f"names and grid_json must name the same parameters, got {', '.join(listed)} and "
            f"{', '.join(axes)}"
        )
    return {name: axes[name] for name in listed}


def _order(axes: Mapping[str, tuple[float, ...]], configs: NDArray[Any]) -> NDArray[np.intp]:
    """Return the row in the file of each setting of the grid."""
    shape = tuple(map(len, axes.values()))
    expected = (math.prod(shape), len(shape))
    if configs.shape != expected:
        raise SpecError(
            f"configs must be the whole grid, in the shape {expected}, got {configs.shape}"
        )
    places = [_places(name, values, configs[:, i]) for i, (name, values) in enumerate(axes.items())]
    numbers = np.ravel_multi_index(tuple(places), shape)
    if len(np.unique(numbers)) != len(numbers):
        raise SpecError("configs must hold each setting of the grid once, got some twice")
    return np.argsort(numbers)


def _places(name: str, values: Sequence[float], column: NDArray[Any]) -> NDArray[np.intp]:
    distance = np.abs(column[:, None] - np.array(values))
    places: NDArray[np.intp] = distance.argmin(axis=1)
    nearest = np.array(values)[places]
    off = ~np.isclose(column, nearest, rtol=CLOSE, atol=0.0)
    if off.any():
        raise SpecError(f"configs must lie on the grid, got {name} {column[off][0]:g}")
    return places
