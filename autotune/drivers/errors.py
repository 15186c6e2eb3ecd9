"""Which errors of a GPU leave a process that can go on."""

from __future__ import annotations

import re

# What is left of a GPU's context after these is unusable in the process that got one of them.
_LIBRARIES = re.compile(
    r"(CUBLAS|HIPBLAS|CUDNN|MIOPEN|CUSOLVER|CUSPARSE)_STATUS_"
    r"(INTERNAL_ERROR|EXECUTION_FAILED|MAPPING_ERROR|NOT_INITIALIZED)"
)
_ANY_LIBRARY = re.compile(r"[A-Z]+_STATUS_[A-Z_]+")
_RUNTIME = ("CUDA error", "HIP error", "Triton Error [CUDA]", "CUDA driver error")


def of_capture(error: BaseException) -> bool:
    """Tell whether an error is of work that no graph can hold: what was recorded is then void."""
    return "captur" in str(error).lower()


def sticky(error: BaseException) -> bool:
    """Tell whether an error of a GPU has spoilt this process: whatever it runs next fails, too.

    Missing memory has not, nor arguments that a library of the GPU refuses.
    """
    import torch

    text = str(error)
    if not isinstance(error, RuntimeError) or "out of memory" in text:
        return False
    if _ANY_LIBRARY.search(text):
        return bool(_LIBRARIES.search(text))
    return isinstance(error, torch.AcceleratorError) or any(sign in text for sign in _RUNTIME)
