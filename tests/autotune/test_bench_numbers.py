"""What a benchmark of steps is made of: shapes, tensors, bytes, repeats and arithmetic."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch

from autotune.bench import machine
from autotune.bench.step import results, timing
from autotune.bench.step.bandwidth import Scale
from autotune.bench.step.implementations import PEERS, Own
from autotune.bench.step.selection import probe
from autotune.bench.step.timing import TIMED, WARM, Benchmark, Duration, HostClock, Repeat
from autotune.bench.step.workload import SHAPES, Tensors, elements
from autotune.optimizers import names

PEER = {peer.name: peer for peer in PEERS}


@pytest.mark.parametrize(
    ("name", "tensors", "parameters"),
    [
        ("resnet50", 161, 25_557_032),
        ("vit-b", 152, 86_567_656),
        ("gpt2", 148, 124_439_808),
        ("gpt2-xl", 580, 1_557_611_200),
        ("small", 1000, 64_000),
    ],
)
def test_shapes_are_those_of_the_model(name, tensors, parameters):
    shapes = SHAPES[name]()
    assert (len(shapes), elements(shapes)) == (tensors, parameters)


def test_the_resnet_has_the_shapes_of_the_real_one():
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        config = transformers.ResNetConfig(num_labels=1000)
        model = transformers.ResNetForImageClassification(config)
    real = sorted(tuple(p.shape) for p in model.parameters())
    assert sorted(SHAPES["resnet50"]()) == real


def test_gradients_alternate_between_two_places_and_never_repeat():
    tensors = Tensors([(3, 5), (7,)], torch.float32, "cpu")
    seen = []
    for _ in range(4):
        tensors.renew()
        seen.append((tensors.params[0].grad.data_ptr(), tensors.params[0].grad.clone()))
    places = [place for place, _ in seen]
    assert places[0] == places[2] != places[1] == places[3]
    assert not any(torch.equal(seen[0][1], other) for _, other in seen[1:])


def test_scratch_left_in_a_gradient_does_not_last():
    tensors = Tensors([(64,)], torch.float32, "cpu")
    tensors.renew()
    tensors.params[0].grad.fill_(torch.nan)
    tensors.renew()
    tensors.renew()
    assert tensors.params[0].grad.isfinite().all()


def test_a_tensor_longer_than_the_noise_is_filled_to_its_end():
    tensors = Tensors([(2**20 + 3,)], torch.bfloat16, "cpu")
    tensors.places[1][0].fill_(torch.nan)
    tensors.renew()
    assert tensors.params[0].dtype is tensors.params[0].grad.dtype is torch.bfloat16
    assert tensors.params[0].grad.isfinite().all()


@pytest.mark.parametrize(
    ("name", "moved", "kept"),
    [
        ("sgd", 20, 4),
        ("adamw", 28, 8),
        ("adamw-win", 36, 12),
        ("adamw-win2", 44, 16),
        ("adan", 44, 16),
        ("adan-win2", 60, 24),
        ("lamb", 44, 8),  # the trust ratio reads 12 more, clipping 4
        ("lamb-win2", 60, 16),
    ],
)
def test_bytes_follow_from_the_buffers_a_rule_keeps(name, moved, kept):
    traffic = probe(Own(rule=name, backend="torch"), torch.float32, "cpu")
    assert (traffic.total, traffic.state) == (moved, kept)


def test_parameters_of_half_precision_halve_their_own_bytes_and_not_the_state_s():
    traffic = probe(Own(rule="adan", backend="torch"), torch.bfloat16, "cpu")
    assert (traffic.reads, traffic.writes) == (2 + 2 + 16, 2 + 16)


def test_a_peer_s_bytes_are_those_of_its_buffers_and_not_of_its_step_counter():
    assert probe(PEER["torch-adamw-fused"], torch.float32, "cpu").total == 28


def test_every_peer_names_a_rule_of_ours():
    assert {peer.rule for peer in PEERS} <= set(names())


class Recorded:
    """A clock, a stream, tensors and implementations that write down what happens."""

    kind, size = "recorded", 8

    def __init__(self):
        self.said, self.params = [], []

    def __call__(self):
        self.said.append("stream")

    def time(self, work):
        self.said.append("start")
        work()
        self.said.append("stop")
        return Duration(seconds=1.0, host=0.5)

    def renew(self):
        self.said.append("renew")

    @contextmanager
    def memory(self):
        yield lambda: 5

    def pretended(self, name):
        return Pretended(self, name)


class Pretended:
    def __init__(self, log, name):
        self.log, self.name = log, name

    def build(self, params):
        self.log.said.append(f"build {self.name}")
        return self

    def step(self):
        self.log.said.append(self.name)


def benchmark(log, *names):
    return Benchmark(
        implementations=[log.pretended(name) for name in names],
        tensors=log,
        stream=log,
        clock=log,
        memory=log.memory,
    )


def test_everyone_takes_turns_forwards_and_then_backwards():
    log = Recorded()
    assert list(benchmark(log, "a", "b", "c").run(3)) == [1, 2, 3]
    built = [word for word in log.said if word.startswith("build")]
    assert [word.removeprefix("build ") for word in built] == list("abccbaabc")


def test_a_turn_warms_up_and_then_times_each_step_beside_the_stream():
    log = Recorded()
    list(benchmark(log, "a").run(1))
    warm, timed = ["renew", "a"], ["start", "stream", "stop", "renew", "start", "a", "stop"]
    assert log.said == ["build a", *WARM * warm, *TIMED * timed]


def test_a_turn_holds_its_laps_and_the_memory_it_took():
    played = benchmark(Recorded(), "a")
    list(played.run(2))
    duration = Duration(seconds=1.0, host=0.5)
    repeat = Repeat(steps=(duration,) * TIMED, streams=(duration,) * TIMED, peak=5)
    assert played.repeats == {"a": [repeat, repeat]}


def test_a_round_that_breaks_off_leaves_nothing_behind():
    log = Recorded()
    played = benchmark(log, "a", "b")
    rounds = played.run(2)
    next(rounds)
    log.pretended = None
    played.implementations[0].step = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(rounds)
    assert [len(repeats) for repeats in played.repeats.values()] == [1, 1]


def repeat(*seconds, stream=1.0):
    return Repeat(
        steps=tuple(Duration(seconds=s, host=s / 2) for s in seconds),
        streams=tuple(Duration(seconds=stream, host=stream) for _ in seconds),
    )


def test_a_ratio_says_how_many_times_as_long_the_other_takes():
    assert results.ratio([repeat(1.0, 1.0, 9.0)], [repeat(3.0, 3.0, 3.0)]) == 3.0


def test_a_round_that_was_slow_for_everyone_does_not_move_a_ratio():
    ours, theirs = (
        [repeat(1.0), repeat(10.0), repeat(1.0)],
        [repeat(2.0), repeat(20.0), repeat(2.0)],
    )
    assert results.ratio(ours, theirs) == 2.0


def test_a_share_compares_bandwidths_measured_side_by_side():
    repeats = [repeat(2.0, stream=1.0), repeat(20.0, stream=10.0)]
    assert results.share(repeats, moved=8.0, size=8) == 0.5


def test_a_spread_is_noisy_when_its_quartiles_are_a_tenth_apart():
    still = results.spread([1.0, 1.01, 1.02, 1.03])
    jumping = results.spread([1.0, 1.0, 1.3, 1.3])
    assert (still.noisy, jumping.noisy) == (False, True)
    assert (jumping.median, jumping.least, jumping.lower, jumping.upper) == (1.15, 1.0, 1.0, 1.3)


def test_host_and_device_time_are_told_apart():
    repeats = [repeat(1.0, 2.0, 3.0)]
    assert results.milliseconds(repeats).median == 2000.0
    assert results.host_milliseconds(repeats).median == 1000.0


def test_bandwidth_is_bytes_over_seconds():
    assert results.bandwidth([repeat(1.0, stream=0.5)], size=8).median == 16.0


def test_a_clock_does_the_work_once():
    done = []
    duration = HostClock().time(lambda: done.append(1))
    assert done == [1]
    assert duration.seconds == duration.host > 0


class Device:
    """A device with a queue, in the place of torch.cuda; time passes only as work says."""

    def __init__(self):
        self.now = self.free = 0.0

    def perf_counter(self):
        return self.now

    def synchronize(self):
        self.now = max(self.now, self.free)

    def _sleep(self, cycles):
        self.queue(cycles / timing._CYCLES)

    def queue(self, seconds):
        self.free = max(self.now, self.free) + seconds

    def Event(self, *, enable_timing):
        return Mark(self)

    def work(self, host, device):
        """Return work whose call takes the host ``host`` seconds before the device has its own."""

        def call():
            self.now += host
            self.queue(device)

        return call


class Mark:
    """An event: where the device's queue ends when it is recorded."""

    def __init__(self, device):
        self.device = device

    def record(self):
        self.at = max(self.device.now, self.device.free)

    def query(self):
        return self.at <= self.device.now

    def elapsed_time(self, other):
        return 1e3 * (other.at - self.at)


@pytest.fixture
def device(monkeypatch):
    pretended = Device()
    monkeypatch.setattr(torch, "cuda", pretended)
    monkeypatch.setattr(timing, "time", pretended)
    return pretended


def test_a_device_s_time_holds_none_of_the_host_s(device):
    duration = timing.DeviceClock().time(device.work(host=0.0005, device=0.002))
    assert (duration.seconds, duration.host) == (pytest.approx(0.002), pytest.approx(0.0005))
    assert not duration.host_bound


def test_a_device_that_waited_for_the_host_is_told_and_waits_no_more(device):
    timer = timing.DeviceClock()
    first, second = (timer.time(device.work(host=0.007, device=0.002)) for _ in range(2))
    assert first.host_bound
    assert first.seconds > 0.007
    assert (second.seconds, second.host) == (pytest.approx(0.002), pytest.approx(0.007))
    assert not second.host_bound


def test_a_device_is_not_kept_busy_for_minutes_while_something_compiles(device):
    timer = timing.DeviceClock()
    timer.time(device.work(host=100.0, device=0.002))
    before = device.now
    timer.time(device.work(host=0.001, device=0.002))
    assert device.now - before < 0.03


def test_most_steps_decide_whether_a_row_is_bound_to_the_host():
    free, bound = (Duration(seconds=1.0, host=1.0, host_bound=bound) for bound in (False, True))
    repeats = [
        Repeat(steps=(bound, free, free), streams=()),
        Repeat(steps=(bound, bound), streams=()),
    ]
    assert results.host_bound(repeats)
    assert not results.host_bound([repeats[0]])


def test_a_scale_reads_and_writes_all_it_holds():
    scale = Scale(100, "cpu")
    scale()
    assert scale.size == 2 * 4 * 100
    assert (scale.array > 1).all()


STREAM = """
import torch
from autotune.bench.step.triton_stream import TritonStream
stream = TritonStream(3000, "cpu")
stream()
assert stream.arrays.shape == (6, 2048)
assert stream.size == 11 * 4 * 2048
assert (stream.arrays[0] == 1).all()
assert (stream.arrays[1:] == 1.5).all()
"""


def test_the_gpu_s_stream_reads_six_arrays_and_writes_five():
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", STREAM],
        env={**machine.os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_commit_is_named_where_a_copy_has_no_history(monkeypatch):
    monkeypatch.setenv("AUTOTUNE_COMMIT", "0123abc")
    assert machine.commit() == "0123abc"
    assert machine.label("cpu").endswith("-0123abc")


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with machine.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
