"""What recordings of other people's code say, in our words: a module for each of their names.

Of an optimizer, ``ours(hyper)`` takes all of its arguments in force, and returns the name and the
arguments that ``autotune.optimizers.create`` takes. It refuses by ValueError what we do not offer.
Where a recording's groups hold tensors that ours step unlike, ``groups(data)`` cuts them. With
``MEASURED`` true, it has parameters as our ``eval()`` puts them.

Of another kind of recording (its ``kind``), ``differences(data)`` yields a sentence for each number
that our code does not arrive at.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def module_of(name: str) -> ModuleType | None:
    """Return the module of an upstream name, or None if nobody has written it."""
    place = f"{__name__}.{name}"
    return import_module(place) if name.isidentifier() and find_spec(place) else None
