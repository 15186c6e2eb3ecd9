"""Parts of addresses, and what a request finds in its application."""

from __future__ import annotations

from typing import Annotated, cast
from urllib.parse import quote

from fastapi import Path, Request

from autotune.service.core import Service
from autotune.studies.names import LONGEST

STORED = r"^[^\x00-\x1f\x7f/]+$"  # what the name of a stored search may be
Search = Annotated[
    str,
    Path(
        min_length=1,
        max_length=LONGEST,
        pattern=STORED,
        description="Name of a search.",
        examples=["vit"],
    ),
]
NewSearch = Annotated[
    str,
    Path(
        min_length=1,
        max_length=LONGEST,
        pattern=r"^[A-Za-z0-9_.][A-Za-z0-9_.:@+-]*$",
        description="Name of a search; a new one is a word.",
        examples=["vit"],
    ),
]
Optimizer = Annotated[
    str,
    Path(
        min_length=1,
        max_length=LONGEST,
        pattern=r"^[\w.:+-]+$",
        description="Name of the study's optimizer.",
        examples=["adan"],
    ),
]


def service_of(request: Request) -> Service:
    """Return what all requests share."""
    return cast(Service, request.app.state.service)


def search_url(name: str) -> str:
    """Return the address of a search."""
    return f"/v1/searches/{quote(name, safe='')}"


def study_url(name: str, optimizer: str) -> str:
    """Return the address of a study."""
    return f"{search_url(name)}/studies/{quote(optimizer, safe='')}"
