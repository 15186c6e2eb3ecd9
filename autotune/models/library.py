"""transformers, which most networks are built with: an extra that need not be installed."""

from __future__ import annotations

from typing import Any

from autotune.errors import MissingExtra


def transformers(what: str) -> Any:
    """Return the library.

    Args:
        what: What needs it, as the error begins.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import transformers as library
    except ImportError as error:
        raise MissingExtra(
            f"{what} needs the models extra: pip install 'adan-autotune[models]'"
        ) from error
    return library
