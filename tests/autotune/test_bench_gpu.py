"""``autotune bench step`` on a GPU."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from autotune.bench.step.clock import DeviceClock
from autotune.bench.step.weave import Weave
from autotune.cli import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm device"),
]


def test_a_device_s_time_covers_what_is_still_queued_when_the_call_returns() -> None:
    large = torch.ones(1 << 28, device="cuda")
    clock = DeviceClock()
    clock.lap(large.neg_)
    lap = clock.lap(lambda: [large.neg_() for _ in range(10)])
    assert lap.seconds > lap.host > 0


def test_the_stream_computes_what_it_says() -> None:
    weave = Weave(1 << 20)
    weave()
    assert (weave.arrays[0] == 1).all()
    assert (weave.arrays[1:] == 1.5).all()


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
