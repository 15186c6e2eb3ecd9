"""Call what ``torch.compile`` is kept out of, without loading the compiler where nothing compiles.

PyTorch keeps its compiler out of methods as ``Optimizer.add_param_group`` by a decorator that loads
``torch._dynamo`` at the first call. That takes as long as loading PyTorch itself: about a second in
each process that trains.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

from torch._compile import _disable_dynamo

COMPILER = "torch._dynamo"  # the module that is the compiler

# Every function that the decorator returns has this code, and no other has it.
_DECORATED = _disable_dynamo(lambda: None).__code__


def eager(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a bound method without torch's decorator, as long as no compiler is loaded.

    Args:
        method: One that the decorator did not make is returned as it is.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))])
        >>> eager(optimizer.zero_grad)(set_to_none=True)
    """
    bound: Any = method
    function: Any = getattr(method, "__func__", None)
    if COMPILER in sys.modules or getattr(function, "__code__", 0) is not _DECORATED:
        return method
    return MethodType(function.__wrapped__, bound.__self__)
