"""What a page will need: named with its first answer, so that a browser fetches it at once.

Streamlit's page asks for the part that draws a figure only when a figure arrives: by then the
browser could have read and compiled these megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

NEEDED = ("PlotlyChart", "DataFrame", "arrowFormatUtils")  # for figures and tables


def parts() -> list[str]:
    """Return the addresses of what draws figures and tables, relative to a page's."""
    import streamlit

    folder = Path(streamlit.__file__).parent / "static" / "static" / "js"
    found = [sorted(folder.glob(f"{name}.*.js")) for name in NEEDED]
    return [f"./static/js/{path.name}" for paths in found for path in paths]


class Preload:
    """Adds a ``Link`` header for each part to answers that are pages.

    Args:
        app: The application.
        parts: Addresses of JavaScript modules, relative to a page's.
    """

    def __init__(self, app: Callable[..., Any], parts: list[str]) -> None:
        self.app = app
        self._headers = [(b"link", f"<{part}>; rel=modulepreload".encode()) for part in parts]

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answer as the application does, with the headers added."""

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and _is_page(message.get("headers", ())):
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self.app(scope, receive, sending)


def _is_page(headers: Any) -> bool:
    return any(name == b"content-type" and b"text/html" in value for name, value in headers)
