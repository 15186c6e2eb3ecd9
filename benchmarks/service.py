"""How fast the service answers beside the store itself: python benchmarks/service.py URL.

A study of 10,000 trials is stored. Then clients, each a thread with a connection of its own, ask
``autotune serve`` for trials, report each loss and end them: one alone, and many at once who train
for a while between their calls, as workers do. The same calls are timed without HTTP, by one
process that opens the store itself.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import shlex
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

from sqlalchemy import create_engine, delete, func, insert, select

from autotune.bench.machine import facts
from autotune.errors import NotFound
from autotune.scheduler.proposals import propose
from autotune.search import declaring, telling
from autotune.search.joining import prepare
from autotune.search.opening import going_on, open_search
from autotune.search.remote import reopened
from autotune.studies import remote, urls
from autotune.studies.models import CurvePoint, Trial
from autotune.studies.records import Point
from autotune.studies.remote import Asked, Lease
from autotune.studies.store import Store
from autotune.testing.remote import loss_of

NAME, STEPS = "load", 270
THREADS = 16  # clients in one process, so that they do not wait for each other
CALLS = ("ask", "report", "end")
Times = dict[str, list[float]]


def begin(store: Store, trials: int, sampler: str) -> None:
    """Store a search whose trials the clients train, with ``trials`` ones that have ended."""
    with suppress(NotFound):
        store.delete_search(NAME)
    external = {"model": "bowl", "data": "none-1", "steps": STEPS}
    given = {"optimizers": ["adamw"], "budget": {"trials": 2 * trials}, "sampler": sampler}
    spec = declaring.spec_of({"external": external}, given, NAME)
    declaring.begin(spec, store)
    opened = open_search(going_on(spec, store.search(NAME), prepare(spec)), store)
    (state,) = opened.states
    drawn = propose(state)
    if trials == 0 or drawn is None:
        return
    first = store.add_trial(state.study.id, drawn)
    rungs = [step for step in state.ladder.steps if step >= state.ladder.first]
    rows, points = [], []
    source = random.Random(0)
    engine = create_engine(store.url)
    with engine.begin() as connection:
        row = connection.execute(select(Trial.__table__).where(Trial.id == first.id)).one()
        connection.execute(delete(Trial).where(Trial.id == first.id))
        for number in range(trials):
            params = {name: source.random() for name in state.space.parameters}
            setting = state.space.setting(
                {name: state.space.parameters[name].at(u) for name, u in params.items()}
            )
            # A third goes on at each rung, as halving lets them.
            height = next((i for i in range(len(rungs) - 1) if source.random() > 1 / 3), -1)
            rows.append(
                {
                    **row._asdict(), "id": first.id + number, "number": number, "seconds": 1.0,
                    "params": dict(setting.params), "hyper": dict(setting.hyper),
                    "warmup": setting.warmup, "step": rungs[height], "attempt": 1,
                    "state": "complete" if rungs[height] == STEPS else "paused",
                    "loss": loss_of(setting.hyper, number, rungs[height]),
                }
            )  # fmt: skip
            points += [
                {
                    "trial_id": first.id + number, "step": step, "seconds": 0.01 * step,
                    "loss": loss_of(setting.hyper, number, step),
                }
                for step in rungs
                if step <= rungs[height]
            ]  # fmt: skip
        connection.execute(insert(Trial), rows)
        connection.execute(insert(CurvePoint), points)
        if connection.dialect.name == "postgresql":
            key = func.pg_get_serial_sequence("autotune_trials", "id")
            highest = select(func.max(Trial.id)).scalar_subquery()
            connection.execute(select(func.setval(key, highest)))
            connection.exec_driver_sql("ANALYZE")
    engine.dispose()


class Client:
    """One worker with a connection of its own."""

    def __init__(self, port: int, times: Times) -> None:
        self._to = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._times = times

    def call(self, what: str, path: str, body: Mapping[str, Any], prefer: str = "") -> Any:
        """Send a request; return its answer, None where there was nothing to train."""
        headers = {"Content-Type": "application/json", **({"Prefer": prefer} if prefer else {})}
        began = time.perf_counter()
        self._to.request("POST", path, json.dumps(body), headers)
        answer = self._to.getresponse()
        text = answer.read()
        took = time.perf_counter() - began
        if answer.status == 204:
            self._times["nothing"].append(took)
            return None
        if answer.status != 200:
            raise AssertionError(f"{answer.status}: {text[:300]!r}")
        self._times[what].append(took)
        return json.loads(text)


def work(port: int, name: str, until: float, trains: float, times: Times) -> None:
    """Train trials until a moment, each in about so many seconds."""
    client, chance = Client(port, times), random.Random(name)
    time.sleep(chance.random() * trains)
    while time.time() < until:
        asked = {"worker": name, "request": uuid.uuid4().hex, "can_pause": "checkpoint"}
        found = client.call("ask", f"/v1/searches/{NAME}/leases", asked, "wait=25")
        for held in found["leases"] if found else ():
            time.sleep(trains * chance.uniform(0.5, 1.5))
            for step in held["evaluate_at"]:
                points = [{"step": step, "loss": loss_of(held["hyper"], held["seed"], step)}]
                client.call("report", f"{held['url']}/points", {"points": points})
            client.call("end", f"{held['url']}/end", {"outcome": "reached"})


def several(
    port: int, names: list[str], seconds: float, trains: float, start: Barrier, told: Queue[Times]
) -> None:
    """Be several workers, each in a thread; all processes begin together."""
    start.wait()
    until = time.time() + seconds
    times: list[Times] = [defaultdict(list) for _ in names]
    threads = [
        threading.Thread(target=work, args=(port, name, until, trains, own))
        for name, own in zip(names, times, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put({call: list(chain(*(own[call] for own in times))) for call in (*CALLS, "nothing")})


def crowd(port: int, clients: int, seconds: float, trains: float) -> Times:
    """Let clients work at the same time; return how long their calls took."""
    context = multiprocessing.get_context("spawn")
    told: Queue[Times] = context.Queue()
    names = [f"c{i}" for i in range(clients)]
    parts = [names[i : i + THREADS] for i in range(0, clients, THREADS)]
    start = context.Barrier(len(parts))
    processes = [
        context.Process(target=several, args=(port, part, seconds, trains, start, told))
        for part in parts
    ]
    for process in processes:
        process.start()
    found = [told.get() for _ in processes]
    for process in processes:
        process.join()
    return {call: list(chain(*(one[call] for one in found))) for call in found[0]}


def direct(store: Store, seconds: float) -> Times:
    """Make the same calls on the store itself; return how long they took."""
    times: Times = defaultdict(list)
    known = reopened(store.search(NAME), store, lambda event: None, "direct")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        asked = Asked(worker="direct", request=uuid.uuid4().hex)
        leases = _timed(times["ask"], partial(known.ask, asked, 1))
        for held in leases if isinstance(leases, list) else ():
            for step in telling.evaluate(held):
                loss = loss_of(held.trial.setting.hyper, held.trial.seed, step)
                point = Point(step=step, seconds=1.0, loss=loss)
                _timed(times["report"], partial(_add, store, held, point))
            _timed(times["end"], partial(_end, store, held))
    return times


def _add(store: Store, held: Lease, point: Point) -> None:
    with remote.telling(store, held.trial.id, held.attempt) as told:
        telling.add(told, [point])


def _end(store: Store, held: Lease) -> None:
    with remote.telling(store, held.trial.id, held.attempt) as told:
        telling.end(told, telling.End(outcome=telling.Told.REACHED))


def _timed(times: list[float], call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    found = call()
    times.append(time.perf_counter() - began)
    return found


@contextmanager
def serving(url: str) -> Iterator[int]:
    """Run a server; yields its port once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "autotune", "serve", "--storage", url, "--listen", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            while not _answers(port):
                if server.poll() is not None:
                    raise RuntimeError(f"the server ended: {shlex.join(command)}")
                time.sleep(0.1)
            yield port
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def tell(title: str, times: Times, seconds: float) -> None:
    """Print how long calls took."""
    print(f"{title}: {len(times['end']) / seconds:.1f} trials/s")  # noqa: T201  the result
    for call in CALLS:
        taken = sorted(1e3 * one for one in times[call])
        if taken:
            shown = [taken[min(len(taken) - 1, int(len(taken) * q))] for q in (0.5, 0.9, 0.99)]
            p50, p90, p99 = (f"{one:8.1f}" for one in shown)
            print(  # noqa: T201  likewise
                f"  {call:8} {len(taken):6} calls  p50 {p50}  p90 {p90}  p99 {p99}  "
                f"most {taken[-1]:8.1f} ms"
            )


def main() -> None:
    """Print all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="a database of its own")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--stored", type=int, default=10_000, help="trials before the first call")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    parser.add_argument("--trains", type=float, default=5.0, help="seconds that a trial takes")
    parser.add_argument("--sampler", default="sobol")
    given = parser.parse_args()
    about = facts("cpu")
    kind = urls.mask(given.url).partition(":")[0]
    print(  # noqa: T201  the result
        f"{about['device']}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{about['date']}, commit {about['commit']}\n"
        f"python benchmarks/service.py --clients {given.clients} --stored {given.stored} "
        f"--seconds {given.seconds:g} --trains {given.trains:g} --sampler {given.sampler} [{kind}]"
    )
    with Store(given.url) as store:
        begin(store, given.stored, given.sampler)
        tell("the store, one caller", direct(store, given.seconds), given.seconds)
    measured = [(1, 0.0), (given.clients, given.trains), (given.clients, 0.0)]
    with serving(given.url) as port:
        crowd(port, 1, 2.0, 0.0)  # the search is read once
        for clients, trains in measured:
            title = f"the service, {clients} clients, trials of {trains:g} s"
            tell(title, crowd(port, clients, given.seconds, trains), given.seconds)
        print(f"load {os.getloadavg()[0]:.1f} at the end")  # noqa: T201  likewise
    with Store(given.url) as store:
        store.delete_search(NAME)


if __name__ == "__main__":
    main()
