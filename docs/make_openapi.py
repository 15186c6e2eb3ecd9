"""Write docs/openapi.json, the description of the service's routes that it serves itself."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from autotune.service import app

PAGE = Path(__file__).with_name("openapi.json")


def page() -> str:
    """Return the description, one line a value."""
    with tempfile.TemporaryDirectory() as folder:
        made = app(f"sqlite:///{folder}/autotune.db")
        found = made.openapi()
        made.state.service.close()
    return json.dumps(found, indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
