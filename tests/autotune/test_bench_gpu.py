"""``autotune bench step`` on a GPU."""

from __future__ import annotations

import json
import time

import pytest
import torch
from click.testing import CliRunner

from autotune.bench.gpu.graphs import replays
from autotune.bench.gpu.steps import Variant
from autotune.bench.gpu.training import Mode, Trainer, supervised
from autotune.bench.step.timing import DeviceClock
from autotune.bench.step.triton_stream import TritonStream
from autotune.bench.step.workload import Workload
from autotune.cli import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm device"),
]


def test_a_device_s_time_covers_what_is_still_queued_when_the_call_returns() -> None:
    large = torch.ones(1 << 28, device="cuda")
    clock = DeviceClock()
    clock.time(large.neg_)
    duration = clock.time(lambda: [large.neg_() for _ in range(10)])
    assert duration.seconds > duration.host > 0


def test_a_device_s_time_holds_none_of_the_host_s() -> None:
    small = torch.ones(1 << 20, device="cuda")
    clock = DeviceClock()

    def work() -> None:
        time.sleep(0.004)
        small.neg_()

    clock.time(work)
    duration = clock.time(work)
    assert duration.host >= 0.004
    assert duration.seconds < 0.001
    assert not duration.host_bound


def test_the_stream_computes_what_it_says() -> None:
    stream = TritonStream(1 << 20)
    stream()
    assert (stream.arrays[0] == 1).all()
    assert (stream.arrays[1:] == 1.5).all()


def test_steps_in_a_graph_are_timed_beside_the_same_ones_launched() -> None:
    workload = Workload(shapes="small", dtype="float32", device="cuda", threads=1)
    variants = [Variant(name=rule, rule=rule) for rule in ("adan", "lamb-win2")]
    for row in replays(workload, variants, lambda: False):
        assert "error" not in row, row
        assert 0 < row["graph host ms"] < row["host ms"]


def test_a_task_learns_the_same_in_a_graph() -> None:
    task = supervised("mlp")
    eager, graph = (Trainer(task, "cuda", Mode(graph=graph)) for graph in (False, True))
    for step in range(20):
        eager.step(step)
        graph.step(step)
    graph.check()
    torch.testing.assert_close(graph.losses[:20], eager.losses[:20], rtol=1e-3, atol=1e-4)


def test_a_row_tells_host_time_and_memory_on_a_gpu() -> None:
    who = ("--optimizer", "adan", "--backend", "torch", "--against", "torch-adamw-fused")
    how = ("--device", "cuda", "--shapes", "small", "--repeats", "2", "--no-first-steps", "--json")
    done = CliRunner().invoke(main, ["bench", "step", *who, *how])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)["bench"]
    (row,) = document["rows"]
    assert document["stream"]["kind"] == "6 reads, 5 writes"
    assert row["host_ms"] > 0
    assert row["peak_bytes"] >= 16 * 64_000
