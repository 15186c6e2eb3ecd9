"""Values behind a question mark, as in ``hf:gpt2?n_layer=2``: read as JSON where they are."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl


def values(query: str, *, strict: bool) -> dict[str, Any]:
    """Return values by name.

    Args:
        query: ``name=value&name=value``.
        strict: Whether what is no pair is an error, the empty text too.

    Raises:
        ValueError: It is not written so.

    Example:
        >>> values("n_layer=2&as=causal-lm", strict=True)
        {'n_layer': 2, 'as': 'causal-lm'}
    """
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=strict)
    return {name: _value(text) for name, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
