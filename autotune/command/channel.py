"""The search's end of ``autotune.report``: takes reports and answers when it is decided.

A report is one connection: a line of JSON with the secret of the command, and one byte as the
answer, ``1`` to go on and ``0`` to end. The command waits for it, and is so paused at a rung.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from autotune.command.said import Malformed, Said, said

HOST = "127.0.0.1"
_LONGEST = 4096  # bytes of a report
_SECONDS = 10.0  # for a report to arrive once it is connected


@dataclass(frozen=True)
class Asked:
    """A report whose sender waits for the answer."""

    said: Said
    connection: socket.socket

    def answer(self, go_on: bool) -> None:
        """Let the sender go on, or tell it to end; the first answer counts."""
        with suppress(OSError):
            self.connection.sendall(b"1" if go_on else b"0")
        self.connection.close()


class Channel:
    """Listens for the reports of one command.

    Args:
        take: Called in another thread with what was reported, or with what is wrong with it.

    Attributes:
        mark: What the command's environment names: address and secret.
    """

    def __init__(self, take: Callable[[Asked | Malformed], None]) -> None:
        self._take = take
        self._secret = secrets.token_hex(16)
        self._socket = socket.create_server((HOST, 0))
        self.mark = f"{HOST}:{self._socket.getsockname()[1]}/{self._secret}"
        threading.Thread(target=self._listen, name="autotune-reports", daemon=True).start()

    def close(self) -> None:
        """Take no more reports."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_SECONDS)
            message = _line(connection)
            if message.pop("secret", None) != self._secret:
                raise OSError("a stranger")
        except (OSError, ValueError):
            connection.close()
            return
        try:
            self._take(Asked(said(message, "autotune.report"), connection))
        except Malformed as error:
            connection.close()
            self._take(error)


def _line(connection: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n") and len(data) < _LONGEST:
        part = connection.recv(_LONGEST)
        if not part:
            break
        data += part
    found = json.loads(data)
    return found if isinstance(found, dict) else {}
