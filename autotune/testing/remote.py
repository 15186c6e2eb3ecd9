"""A worker of the service as any language could write it, on measurements that are made up."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import Any

BODY: Mapping[str, Any] = {
    "task": {"external": {"model": "bowl", "steps": 9}},
    "optimizers": ["adamw"],
    "budget": {"trials": 2},
    "seeds": 2,
}


def loss_of(hyper: Mapping[str, Any], seed: int, step: int) -> float:
    """Return what a loop would measure: settings rank, and seeds differ a little."""
    return abs(math.log10(float(hyper["lr"]) / 3e-3)) + 1 / step + seed % 7 / 1000


def told(held: Mapping[str, Any], *steps: int) -> list[dict[str, Any]]:
    """Return measurements of a lease at some steps; without any, at all that it asks for."""
    hyper, seed = held["hyper"], held["seed"]
    chosen = steps or held["evaluate_at"]
    return [{"step": step, "loss": loss_of(hyper, seed, step)} for step in chosen]


def lease(client: Any, search: str = "bowl", worker: str = "w", **more: Any) -> dict[str, Any]:
    """Return one lease."""
    answer = client.post(f"/v1/searches/{search}/leases", json={"worker": worker, **more})
    _check(answer)
    found: dict[str, Any] = answer.json()["leases"][0]
    return found


def train(client: Any, search: str = "bowl", worker: str = "w", most: int = 10**6) -> Any:
    """Train trials of a search until it is over; return the answer that said so.

    Args:
        client: Has ``post(path, json=...)`` as clients of HTTP have.
        search: Its name.
        worker: Name of this worker.
        most: Leases after which to leave; None is returned then.
    """
    for _ in range(most):
        asked = {"worker": worker, "request": uuid.uuid4().hex}
        answer = client.post(f"/v1/searches/{search}/leases", json=asked)
        if answer.status_code == 410:
            return answer
        if answer.status_code == 204:
            continue
        _check(answer)
        for held in answer.json()["leases"]:
            for point in told(held):
                _check(client.post(f"{held['url']}/points", json={"points": [point]}))
            _check(client.post(f"{held['url']}/end", json={"outcome": "reached"}))
    return None


def _check(answer: Any) -> None:
    if answer.status_code != 200:
        raise AssertionError(f"{answer.status_code}: {answer.text}")
