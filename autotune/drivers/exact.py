"""Float32 that is float32 on a GPU of CUDA, and the same numbers for the same seed.

By default cuDNN rounds the factors of float32 products to TF32's 10 bits, and sums in an order
that may differ from run to run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.backends import cuda

# Any: torch's types lack some of what these hold.
cudnn: Any = torch.backends.cudnn
memory: Any = torch.utils.deterministic
_FLAGS = ((cuda.matmul, "allow_tf32"), (cudnn, "allow_tf32"))
_PRECISIONS = ((cuda.matmul,), (cudnn.conv, cudnn.rnn))  # of each flag, by their later name
# Read when cuBLAS is first used; a workspace of its own for each stream makes sums repeatable.
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def tf32() -> bool:
    """Return whether any product of float32 numbers may be rounded to TF32."""
    return any(each.fp32_precision == "tf32" for group in _PRECISIONS for each in group)


@contextmanager
def exactly(*, strict: bool) -> Iterator[None]:
    """Compute exactly inside, and as before after.

    Args:
        strict: Choose deterministic algorithms of torch's own as well; one that has none warns.
    """
    os.environ.setdefault(*_WORKSPACE)
    undo = [_set(*flag, *group) for flag, group in zip(_FLAGS, _PRECISIONS, strict=True)]
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    chosen = torch.get_deterministic_debug_mode()
    filled = memory.fill_uninitialized_memory
    if strict:
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False  # it costs a pass each time
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
        torch.set_deterministic_debug_mode(chosen)
        memory.fill_uninitialized_memory = filled
        for each in undo:
            each()


def _set(owner: Any, flag: str, *parts: Any) -> Callable[[], None]:
    """Switch TF32 off and return what puts the setting back in the words that it was made in."""
    precisions = [part.fp32_precision for part in parts]
    try:
        allowed = getattr(owner, flag)
    except RuntimeError:  # it was set by its later name, and torch refuses to mix the two
        allowed = None
    setattr(owner, flag, False)

    def put_back() -> None:
        if allowed is not None:
            setattr(owner, flag, allowed)
            return
        for part, precision in zip(parts, precisions, strict=True):
            part.fp32_precision = precision

    return put_back
