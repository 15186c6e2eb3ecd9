"""Compare numbers of a recording with ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

_RELATIVE, _ABSOLUTE = 1e-11, 1e-12


def apart(what: str, ours: Sequence[float], theirs: Sequence[float]) -> Iterator[str]:
    """Yield a sentence where numbers differ first."""
    if len(ours) != len(theirs):
        yield f"{what}: {len(ours)} numbers, the recording has {len(theirs)}"
        return
    for at, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if not math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE):
            yield f"{what}: {a:.17g} at {at}, the recording has {b:.17g}"
            return
