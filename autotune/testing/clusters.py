"""Ray clusters of several nodes on this machine, whose nodes tests can take away.

A cluster lives in a process of its own, which ``python -m autotune.testing.clusters CPUS`` starts:
it adds or kills a node for each line it reads, and ends everything at the end of its input.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TextIO

ADD, LOSE = "add", "lose"
NODE = {"object_store_memory": 80_000_000, "include_dashboard": False}
# A node that died is noticed within seconds, not after fifteen; one that is slow is waited for.
NOTICED = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 400}


def need_ray() -> None:
    """Skip a test where Ray is not installed; a skip is a failure where CI is set."""
    import pytest

    if find_spec("ray") is None:
        way = "pip install 'adan-autotune[ray]'"
        if os.environ.get("CI"):
            pytest.fail(f"the ray extra must be installed where CI is set: {way}")
        pytest.skip(f"needs the ray extra: {way}")
    # Read when Ray is first imported, here and in what is started from here: the loopback alone.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


class Cluster:
    """A cluster that runs in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._answer()

    def add(self) -> None:
        """Add a node with one CPU."""
        self._ask(ADD)

    def lose(self) -> None:
        """Kill all processes of the node that was added first."""
        self._ask(LOSE)

    def _ask(self, command: str) -> None:
        print(command, file=self._process.stdin, flush=True)
        self._answer()

    def _answer(self) -> str:
        if self._process.stdout is None:
            raise ValueError("a cluster's process answers on its standard output")
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError("the cluster ended before it answered")
        return answer


@contextmanager
def cluster(cpus: int) -> Iterator[Cluster]:
    """Give a cluster whose head has so many CPUs."""
    need_ray()
    command = [sys.executable, "-P", "-m", "autotune.testing.clusters", str(cpus)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        yield Cluster(process)


def serve(cpus: int, commands: Iterable[str], answers: TextIO) -> None:
    """Run a cluster until there are no more commands."""
    head = {**NODE, "num_cpus": cpus, "_system_config": NOTICED}
    made = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args=head
    )
    print(made.address, file=answers, flush=True)
    nodes = []
    for command in commands:
        if command.strip() == ADD:
            nodes.append(made.add_node(num_cpus=1, **NODE))
        else:
            made.remove_node(nodes.pop(0), allow_graceful=False)
        print(command.strip(), file=answers, flush=True)
    made.shutdown()


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what Ray prints is no answer
        serve(int(sys.argv[1]), sys.stdin, answers)
