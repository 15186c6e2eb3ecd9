"""Which packages a server imports for the optimizers that its clients name."""

from __future__ import annotations

import os
from collections.abc import Iterable

from autotune import registry
from autotune.errors import SpecError

ALLOWED = "AUTOTUNE_ALLOWED_OPTIMIZERS"  # variable of the server's process
_ALWAYS = "torch.optim"  # imported anyway


def refuse_others(optimizers: Iterable[str]) -> None:
    """Refuse a dotted name of a package that the server's operator has not named.

    Importing runs a package's code, which is the operator's to decide, not the client's.
    """
    named = os.environ.get(ALLOWED, "").split(",")
    homes = [_ALWAYS, *(name.strip() for name in named if name.strip())]
    for optimizer in filter(registry.foreign, optimizers):
        if not any(optimizer.startswith(f"{home}.") for home in homes):
            package = optimizer.partition(".")[0]
            raise SpecError(
                f"optimizer '{optimizer}' is of a package that this server does not import; add "
                f"{package} to {ALLOWED} where the server is started"
            )
