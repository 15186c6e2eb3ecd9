"""Replay recordings of other people's code through ``autotune.optimizers.create``.

``python -m autotune.testing.golden FOLDER`` prints a line for each recording that our code does not
follow, and how many passed; its exit status is 1 if any failed, and 2 if nothing could be replayed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotune.kernels import backends
from autotune.testing.recordings import trajectory
from autotune.testing.trajectories import Trajectory, play
from autotune.testing.upstream import module_of

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


def differences(
    run: Trajectory, actual: Iterable[Sequence[Tensor]], dtype: torch.dtype
) -> Iterator[str]:
    """Yield a sentence for each parameter that is not where a recording has it.

    Args:
        run: What was recorded.
        actual: The parameters after each step.
        dtype: That of the replay.
    """
    name = str(dtype).removeprefix("torch.")
    for k, (params, values) in enumerate(zip(actual, run.expected[name], strict=True), 1):
        for i, (p, value) in enumerate(zip(params, values, strict=True)):
            found = _difference(p, value, *run.tolerance[name])
            if found is not None:
                yield f"after step {k} parameter {i} {found}"


def _difference(p: Tensor, value: Sequence[float], rtol: float, atol: float) -> str | None:
    """Return where a parameter differs most, or None if no element differs by too much."""
    actual = p.detach().double().flatten().cpu()
    expected = torch.tensor(value, dtype=torch.float64)
    if actual.shape != expected.shape:
        return f"has {len(actual)} elements, the recording {len(expected)}"
    allowed = atol + rtol * expected.abs()
    excess = ((actual - expected).abs() - allowed).nan_to_num(nan=torch.inf)
    excess[(actual == expected) | (actual.isnan() & expected.isnan())] = 0.0
    if not len(excess) or excess.max() <= 0.0:
        return None
    at = int(excess.argmax())
    return (
        f"has {actual[at]:.17g} at {at}, the recording {expected[at]:.17g}; "
        f"{allowed[at]:.1e} between them is allowed"
    )


def failure(path: Path, *, backend: str, dtype: torch.dtype) -> str | None:
    """Return how our code first differs from a recording, or why it cannot be replayed."""
    try:
        return next(_problems(json.loads(path.read_text(encoding="utf-8")), backend, dtype), None)
    except Exception as error:  # told, and the other recordings are replayed
        return f"{type(error).__name__}: {error}"


def _problems(data: Mapping[str, Any], backend: str, dtype: torch.dtype) -> Iterator[str]:
    kind = data.get("kind")
    if kind is not None:
        module = module_of(kind)
        if module is None:
            yield f"it is of kind '{kind}', which no module autotune.testing.upstream.{kind} reads"
        else:
            yield from module.differences(data)
        return
    run = trajectory(data)
    home = "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"
    played = play(run, dtype=dtype, backend=backend, device=home)
    yield from differences(run, (params for _, params in played), dtype)


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a folder's recordings, print what failed, and return the exit status."""
    given = _parser().parse_args(arguments)
    paths = sorted(given.folder.glob("*.json"))
    if not paths:
        sys.stderr.write(f"{given.folder} must be a folder with recordings (*.json), has none\n")
        return 2
    if given.backend == "triton" and not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"
    try:
        backends.check(given.backend)
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return _replay(paths, given.backend, _DTYPES[given.dtype])


def _replay(paths: Sequence[Path], backend: str, dtype: torch.dtype) -> int:
    passed = 0
    with np.errstate(all="ignore"):  # an interpreted kernel warns where a device is silent
        for path in paths:
            why = failure(path, backend=backend, dtype=dtype)
            passed += why is None
            if why is not None:
                sys.stdout.write(f"{path.name}: {why}\n")
    sys.stdout.write(f"{passed}/{len(paths)}\n")
    return 0 if passed == len(paths) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m autotune.testing.golden", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the recordings are, as *.json")
    parser.add_argument("--backend", choices=["torch", "numba", "triton"], default="torch")
    parser.add_argument("--dtype", choices=list(_DTYPES), default="float64")
    return parser


if __name__ == "__main__":
    sys.exit(main())
