"""Workers of a service, on as many machines as there are: ``python served.py http://host:8400``.

Under ``torchrun --nproc-per-node 2 served.py http://host:8400`` two processes train each trial
together. The service decides and stores; ``autotune serve`` starts one.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import ask_tell
import ddp
import torch
from torch import distributed

from autotune.client import Client


def main(server: str, trials: int = 4, steps: int = 27) -> dict[str, Any]:
    """Train trials until the search is over, and print what it recommends."""
    together = "WORLD_SIZE" in os.environ
    if together:
        distributed.init_process_group("gloo")
        torch.set_num_threads(1)
    client = Client(server)
    body = {
        "task": {"external": {"model": "digits", "steps": steps}},
        "optimizers": ["adan", "adamw"],
        "budget": {"trials": trials},
    }
    client.begin("served", body)  # whoever is first begins it, the others find it
    for trial in client.trials("served"):
        if together:
            ddp.train(trial)
        else:
            ask_tell.train(trial)
    found = client.recommendation("served", "adan")
    if not together or distributed.get_rank() == 0:
        print(found["verdict"])
    if together:
        distributed.destroy_process_group()
    return found


if __name__ == "__main__":
    main(sys.argv[1])
