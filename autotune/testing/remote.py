"""A worker of the service as any language could write it, on measurements that are made up."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import func, select

from autotune import Tuner
from autotune.studies.models import Attempt, Trial
from autotune.studies.store import Store

BODY: Mapping[str, Any] = {
    "task": {"external": {"model": "bowl", "steps": 9}},
    "optimizers": ["adamw"],
    "budget": {"trials": 2},
    "seeds": 2,
}


LARGER: Mapping[str, Any] = {
    **BODY,
    "task": {"external": {"model": "bowl", "steps": 27}},
    "optimizers": ["adan", "adamw"],
    "budget": {"runs": 10},
}


def loss_of(hyper: Mapping[str, Any], seed: int, step: int) -> float:
    """Return what a loop would measure: settings rank, and seeds differ a little."""
    return abs(math.log10(float(hyper["lr"]) / 3e-3)) + 1 / step + seed % 7 / 1000


def by_hand(url: str, body: Mapping[str, Any]) -> Any:
    """Run the same search by ``autotune.Tuner``, and return what it found."""
    steps = body["task"]["external"]["steps"]
    given = {"steps": steps, "seeds": body["seeds"], **body["budget"]}
    given |= {"name": "bowl", "storage": url, "progress": "off"}
    with Tuner(body["optimizers"], **given) as tuner:
        for trial in tuner:
            for step in trial.evaluate:
                trial.report(step, loss_of(trial.hyper, trial.seed, step))
        return tuner.result


def stored(url: str, name: str = "bowl") -> list[Any]:
    """Return what defines each stored trial of a search, how it ended, and how many tries it took.

    Args:
        url: Where the search is stored.
        name: Of the search.
    """
    found: list[Any] = []
    with Store(url, read_only=True) as store:
        for study in store.search(name).studies:
            curves = store.curves(study.id)
            for t in store.trials(study.id):
                curve = [(p.step, p.loss) for p in curves.get(t.id, ()) if p.loss is not None]
                what = (study.optimizer, t.number, t.role, t.origin, str(t.setting.hyper), t.source)
                found.append((*what, t.setting.warmup, t.seed, t.state, t.step, t.loss, curve))
            tries = select(func.count()).select_from(Attempt).join(Trial)
            with store.reading() as connection:
                found.append(connection.scalar(tries.where(Trial.study_id == study.id)))
            found.append((store.recommendation(study.id) or {}).get("source"))
    return found


class Insists:
    """A client that sends the same again until it is answered.

    Args:
        client: Has ``post(path, json=...)``.
        away: What it raises where there is no answer.
        pause: Seconds until it sends again.
    """

    def __init__(self, client: Any, away: type[Exception], pause: float = 0.0) -> None:
        self._client, self._away, self._pause = client, away, pause

    def post(self, path: str, json: Any) -> Any:
        """Return the answer of a request, however often it has to be sent."""
        return self._sent(self._client.post, path, json)

    def put(self, path: str, json: Any) -> Any:
        """Likewise."""
        return self._sent(self._client.put, path, json)

    def _sent(self, send: Callable[..., Any], path: str, json: Any) -> Any:
        while True:
            try:
                answer = send(path, json=json)
            except self._away:
                time.sleep(self._pause)
            else:
                if answer.status_code != 503:
                    return answer
                time.sleep(self._pause)


def told(held: Mapping[str, Any], *steps: int) -> list[dict[str, Any]]:
    """Return measurements of a lease at some steps; without any, at all that it asks for."""
    hyper, seed = held["hyper"], held["seed"]
    chosen = steps or held["evaluate_at"]
    return [{"step": step, "loss": loss_of(hyper, seed, step)} for step in chosen]


def lease(client: Any, worker: str = "w", search: str = "bowl", **more: Any) -> dict[str, Any]:
    """Return one lease, of a worker that can pause if ``more`` does not say otherwise."""
    asked = {"worker": worker, "can_pause": "checkpoint", **more}
    answer = client.post(f"/v1/searches/{search}/leases", json=asked)
    _check(answer)
    found: dict[str, Any] = answer.json()["leases"][0]
    return found


def train(
    client: Any,
    search: str = "bowl",
    worker: str = "w",
    most: int = 10**6,
    *,
    can_pause: str = "checkpoint",
) -> Any:
    """Train trials of a search until it is over; return the answer that said so.

    Args:
        client: Has ``post(path, json=...)`` as clients of HTTP have.
        search: Its name.
        worker: Name of this worker.
        most: Leases after which to leave; None is returned then.
        can_pause: Whether it can go on with a trial later; it saves none.
    """
    for _ in range(most):
        asked = {"worker": worker, "request": uuid.uuid4().hex, "can_pause": can_pause}
        answer = client.post(f"/v1/searches/{search}/leases", json=asked)
        if answer.status_code == 410:
            return answer
        if answer.status_code == 204 or _spent(answer):
            continue
        _check(answer)
        for held in answer.json()["leases"]:
            for point in told(held):
                answer = client.post(f"{held['url']}/points", json={"points": [point]})
                _check(answer)
                if answer.json()["command"] != "continue":
                    break
            _check(client.post(f"{held['url']}/end", json={"outcome": "reached"}))
    return None


def _spent(answer: Any) -> bool:
    """Return whether the answer to an ask was lost with a server, and its lease is over by now."""
    return bool(answer.status_code == 409 and answer.json()["type"].endswith(":request-spent"))


def _check(answer: Any) -> None:
    if answer.status_code != 200:
        raise AssertionError(f"{answer.status_code}: {answer.text}")


def heard(lines: Iterable[str]) -> Iterator[tuple[str, Any, str]]:
    """Yield kind, content and id of server-sent events; comments have the kind "".

    Args:
        lines: Of a stream, without their ends.
    """
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields:
            if "data" in fields or "" in fields:
                data = json.loads(fields["data"]) if "data" in fields else fields[""]
                yield fields.get("event", ""), data, fields.get("id", "")
            fields = {}


def refused(answer: Any, status: int, kind: str) -> str:
    """Return the sentence of a problem that a service answered with."""
    body, kept = answer.json(), answer.headers["content-type"] == "application/problem+json"
    asked = (status, status, f"urn:autotune:{kind}")
    if not kept or (answer.status_code, body["status"], body["type"]) != asked:
        raise AssertionError(answer.text)
    if "\n" in body["detail"]:
        raise AssertionError(f"more than one sentence: {body['detail']}")
    return str(body["detail"])
