"""A worker of the service: any number of them, on any machines, train the trials of one search.

    autotune serve
    python service_worker.py http://127.0.0.1:8400

It takes its token, if the service asks for one, from AUTOTUNE_TOKEN.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from ask_tell import train

from autotune.client import Client

OPTIMIZERS = ["adan", "adamw"]


def main(url: str, trials: int = 6, steps: int = 81) -> list[dict[str, Any]]:
    """Begin a search or join it, and print what was found."""
    search = {
        "task": {"external": {"model": "digits", "data": "digits 8x8", "steps": steps}},
        "optimizers": OPTIMIZERS,
        "budget": {"trials": trials},
    }
    with Client(url, states=os.environ.get("STATES")) as client:  # a folder that workers share
        client.begin("digits", search)
        for trial in client.trials("digits"):
            train(trial)
        found = [client.recommendation("digits", optimizer) for optimizer in OPTIMIZERS]
    for one in found:
        print(one["verdict"])
    return found


if __name__ == "__main__":
    main(sys.argv[1])
