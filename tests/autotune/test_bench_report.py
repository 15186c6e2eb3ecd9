"""What ``autotune bench step`` tells a person of its results."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from autotune.bench.step.results import PeerRow, Result, Row, Streaming
from autotune.cli.views.step_times import conclusions, report

TIMING = {
    "shapes": "resnet50",
    "dtype": "float32",
    "ms": 20.0,
    "ms_min": 19.0,
    "ms_q1": 19.5,
    "ms_q3": 20.5,
    "noisy": False,
    "host_ms": 1.5,
    "us_per_tensor": 124.2,
    "bytes_per_param": 44.0,
    "state_bytes_per_param": 16.0,
    "stream_fraction": 0.95,
    "peak_bytes": None,
}
ADAN = Row(
    **TIMING,
    optimizer="adan",
    backend="numba",
    first_step_s=1.25,
    next_first_step_s=0.5,
    ratios={"timm-adan": 4.0, "optimi-adan": 3.5, "torch-adamw-fused": 1.02},
)
ADAMW = replace(
    ADAN,
    optimizer="adamw",
    stream_fraction=0.9,
    ratios={"timm-adan": 6.0, "optimi-adan": 5.0, "torch-adamw-fused": 0.5},
)
PEERS = tuple(
    PeerRow(**(TIMING | {"ms": ms}), peer=name, optimizer=rule)
    for name, rule, ms in [
        ("timm-adan", "adan", 80.0),
        ("optimi-adan", "adan", 1070.0),
        ("torch-adamw-fused", "adamw", 10.0),
    ]
)
RESULT = Result(
    machine={
        "device": "EPYC",
        "date": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        "commit": "0123abc",
        "packages": {"torch": "2.13.0", "numba": "0.68.1", "optuna": "5.0"},
    },
    device="cpu",
    threads=2,
    shapes="resnet50",
    tensors=161,
    parameters=25_557_032,
    dtype="float32",
    rounds=5,
    rounds_planned=5,
    stream=Streaming(kind="in-place scale", gb_per_s=50.04, gb_per_s_q1=49.0, gb_per_s_q3=51.0),
    torch_first_s=1.5,
    rows=(ADAN, ADAMW),
    peers=PEERS,
    not_installed={"authors-adan": "adan", "authors-adan-single": "adan", "x": "timm"},
    absent={"backend triton": "no device"},
)


def told(**changed) -> list[str]:
    return list(conclusions(replace(RESULT, **changed)))


def test_the_report_opens_with_machine_model_and_yardstick():
    assert report(RESULT).splitlines()[:3] == [
        "EPYC (cpu), 2 threads, torch 2.13.0, numba 0.68.1, 2026-01-02 03:04 UTC, commit 0123abc",
        "resnet50: 161 tensors, 25,557,032 parameters in float32; 5 of 5 rounds",
        "stream: in-place scale at 50.0 GB/s, quartiles 49.0 to 51.0",
    ]


def test_a_row_names_the_peer_of_its_rule_it_compares_worst_with():
    row = next(line for line in report(RESULT).splitlines() if line.startswith("adan "))
    assert " ".join(row.split()) == (
        "adan numba 20 19.5-20.5 44 95 % 124 1.25 0.5 3.5x optimi-adan"
    )


def test_peers_are_listed_by_rule_and_speed():
    lines = report(RESULT).splitlines()
    names = [line.split()[0] for line in lines if line.startswith(("timm-", "optimi-", "torch-"))]
    assert names == ["torch-adamw-fused", "timm-adan", "optimi-adan"]
    assert "1,070" in next(line for line in lines if line.startswith("optimi-adan"))


def test_a_gpu_s_table_adds_host_time_and_memory():
    row = replace(ADAN, peak_bytes=2_500_000_000)
    table = report(replace(RESULT, device="cuda", rows=(row,), peers=())).splitlines()
    header = next(line for line in table if line.startswith("optimizer"))
    assert "host ms  peak GB" in header
    assert "1.5      2.5" in next(line for line in table if line.startswith("adan "))


def test_conclusions_say_each_thing_once():
    assert told() == [
        "numba runs at 90 % (adamw) to 95 % (adan) of the streaming bandwidth",
        "first steps include imports and compilation; PyTorch's own 1.5 s for a process's first "
        "optimizer come on top",
        "adan: numba is 3.5 times as fast as optimi-adan, the fastest peer of its rule",
        "adamw: torch-adamw-fused is 2 times as fast as numba, our fastest",
        "a step of timm-adan, the fastest Adan of others, takes 4 (adan) to 6 (adamw) times as "
        "long as ours",
        "not installed: adan, timm",
        "not measured: backend triton: no device",
    ]


def test_a_difference_of_a_few_per_cent_is_none():
    even = replace(ADAMW, ratios=ADAMW.ratios | {"torch-adamw-fused": 1.03})
    assert "adamw: numba and torch-adamw-fused are equally fast, within 5 %" in told(rows=(even,))


def test_noisy_rows_are_named():
    noisy = replace(ADAN, noisy=True)
    sentence = "noisy, with quartiles over a tenth of the median apart: {}; measure again on a quieter machine"  # noqa: E501
    assert sentence.format("adan numba") in told(rows=(noisy, ADAMW))
    assert sentence.format("9 of 12 rows") in told(rows=(noisy,) * 9)


def test_rows_whose_time_may_hold_the_host_s_are_named():
    waiting = replace(ADAN, host_bound=True)
    sentence = "the GPU may have waited for the host, which then counts in ms: adan numba"
    assert sentence in told(rows=(waiting, ADAMW))
    assert sentence not in told()


def test_a_single_row_is_one_share():
    sentence = "adan on numba runs at 95 % of the streaming bandwidth"
    assert told(rows=(ADAN,), peers=())[0] == sentence
