"""Trials of a service: a caller's own loop trains them, wherever it can reach the server.

It needs the extra ``client``, and imports torch only for what is built or saved with it.
"""

from __future__ import annotations

from autotune.client.asynchronous import AsyncClient, AsyncTrial
from autotune.client.client import Client

__all__ = ["AsyncClient", "AsyncTrial", "Client"]
