"""Whether a search outlives its servers and workers: python benchmarks/service_kills.py URL.

Clients train trials through one ``autotune serve`` or several of one database, while a server and
clients are killed every so many seconds. What was lost, doubled or overspent is counted, and what
the search recommends is compared with what one worker finds whom nobody disturbs.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from autotune.bench.machine import facts
from autotune.studies import urls
from autotune.studies.store import Store
from autotune.testing import crowds
from autotune.testing.crowds import Crowd

NAME = "kills"


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = tuple(int(probe.getsockname()[1]) for probe in probes)
    for probe in probes:
        probe.close()
    return ports


def disturb(crowd: Crowd, every: float, minutes: float) -> float:
    """Kill a server every so many seconds, and clients as often; return how long it took."""
    began, due = time.monotonic(), every
    while not crowd.over():
        time.sleep(0.2)
        passed = time.monotonic() - began
        if passed > minutes * 60:
            raise SystemExit(f"the search was not over after {minutes:g} minutes")
        if passed > due:
            due += every
            crowd.kill_a_server()
            for _ in range(max(1, crowd.clients // 16)):
                crowd.kill_a_client()
    return time.monotonic() - began


def main() -> None:
    """Print what was counted; exit with 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="a database of its own")
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between kills")
    parser.add_argument("--trains", type=float, default=5.0, help="seconds that a trial takes")
    parser.add_argument("--minutes", type=float, default=30.0, help="after which to give up")
    parser.add_argument("--steps", type=int, default=3, help="more are trained in stretches")
    parser.add_argument(
        "--can-pause",
        choices=("none", "checkpoint"),
        default="checkpoint",
        help="whether clients can go on with a trial later; give --steps 9 or more with 'none'",
    )
    parser.add_argument(
        "--pruner",
        default="none",
        help="one that judges each trial by its own losses alone, as "
        "'optuna:ThresholdPruner(upper=1.0)'",
    )
    given = parser.parse_args()
    about, kind = facts("cpu"), urls.mask(given.url).partition(":")[0]
    print(  # noqa: T201  the result
        f"{about['device']}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{about['date']}, commit {about['commit']}, [{kind}]"
    )
    body = crowds.body(given.trials, given.steps, given.pruner)
    with tempfile.TemporaryDirectory() as folder:
        calm, pauses = f"sqlite:///{folder}/calm.db", given.can_pause != "none"
        crowds.alone(calm, NAME, body, pauses=pauses)
        print(f"one worker alone: {crowds.recommended(calm, NAME)[0][0]}", flush=True)  # noqa: T201  likewise
        crowd = Crowd(
            url=given.url, search=NAME, ports=free_ports(given.servers), clients=given.clients,
            trains=given.trains, folder=Path(folder), pauses=pauses,
        )  # fmt: skip
        try:
            crowd.begin(body)
            took = disturb(crowd, given.every, given.minutes)
        finally:
            crowd.end()
        wrong = crowds.tally(given.url, NAME)
        same = crowds.recommended(given.url, NAME) == crowds.recommended(calm, NAME)
    counted = [f"{len(found)} {what}" for what, found in wrong.items()]
    told = ", ".join([*counted, "as alone" if same else "not as alone"])
    print(  # noqa: T201  likewise
        f"{given.clients} clients, {given.trials} trials, {given.servers} servers, "
        f"can pause: {given.can_pause}, pruner {given.pruner}, {took:.0f} s, "
        f"killed {crowd.killed['servers']} servers, {crowd.killed['clients']} clients: {told}"
    )
    for found in wrong.values():
        for text in found[:5]:
            print(text)  # noqa: T201  likewise
    with Store(given.url) as store:
        store.delete_search(NAME)
    sys.exit(any(wrong.values()) or not same)


if __name__ == "__main__":
    main()
