"""The dashboard as a browser reads it: its server, and when a page has been drawn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, NAMES)), NAMES[0])
# Of Chromium as root, without a screen, in a container's small shared memory.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
)
# JavaScript that tells whether a page's script has ended and nothing waits to be drawn.
DRAWN = """() => { const app = document.querySelector('[data-testid="stApp"]');
  return !!app && app.dataset.testConnectionState === 'CONNECTED'
    && app.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid="stSkeleton"], [data-stale="true"]'); }"""


def environment() -> dict[str, str]:
    """Return the environment without settings of ours: the database is that of the folder."""
    return {key: value for key, value in os.environ.items() if not key.startswith("AUTOTUNE_")}


@contextmanager
def dashboard(folder: Path, *flags: str) -> Iterator[str]:
    """Serve the searches of a folder's autotune.db; gives the address.

    Args:
        folder: Where the server works, as a user would.
        flags: More of ``autotune dashboard``.
    """
    command = [sys.executable, "-P", "-m", "autotune", "dashboard", "--port", "0", "--no-browser"]
    reader, writer = os.pipe()  # it tells its address where errors go
    command += flags
    with subprocess.Popen(command, cwd=folder, env=environment(), stderr=writer) as process:
        os.close(writer)
        try:
            with open(reader) as told:
                yield told.readline().split()[2].rstrip("/")
        finally:
            process.terminate()
