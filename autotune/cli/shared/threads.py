"""Threads that a user's code leaves behind: Python waits for them, and says nothing."""

from __future__ import annotations

import threading
import time

from autotune.cli.shared.stderr import tell

GRACE = 5.0  # seconds in which most end by themselves
MOST = 3  # that are named


def watch(grace: float = GRACE) -> None:
    """Tell after a while what a command that is done still waits for."""
    if _left():
        threading.Thread(target=_told, args=(grace,), daemon=True).start()


def _told(grace: float) -> None:
    time.sleep(grace)
    if left := _left():
        more = f" and {len(left) - MOST} more" if len(left) > MOST else ""
        names = f"{', '.join(left[:MOST])}{more}"
        tell(
            f"the command is done, and waits for what runs in threads of your code: {names}; "
            "Ctrl-C ends it without them"
        )


def _left() -> list[str]:
    first = threading.main_thread()
    return [t.name for t in threading.enumerate() if t is not first and not t.daemon]
