"""What a benchmark of steps found, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long the steps of one contender took.

    ``stream_fraction`` is ``bytes_per_param``, which is the least a step must move, over its time,
    as a share of the bandwidth of the stream beside it. On a GPU ``ms`` is the device's time alone,
    unless ``host_bound`` tells that it may have waited for the host in most of the steps.
    """

    shapes: str
    dtype: str
    ms: float
    ms_min: float
    ms_q1: float
    ms_q3: float
    noisy: bool
    host_ms: float
    host_bound: bool = False
    us_per_tensor: float
    bytes_per_param: float
    state_bytes_per_param: float
    stream_fraction: float
    peak_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Row(Timing):
    """One of our optimizers on one backend.

    ``ratios`` says how many times as long each peer's step takes.
    """

    optimizer: str
    backend: str
    first_step_s: float | None
    next_first_step_s: float | None
    ratios: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class PeerRow(Timing):
    """Somebody else's optimizer, and ours that computes the same."""

    peer: str
    optimizer: str


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """The bandwidth steps are compared with, in GB/s."""

    kind: str
    gb_per_s: float
    gb_per_s_q1: float
    gb_per_s_q3: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """A benchmark of steps.

    ``torch_first_s`` is what PyTorch itself takes for the first optimizer of a process.
    ``not_installed`` names packages, and ``absent`` reasons, by who could not be measured.
    """

    machine: Mapping[str, Any]
    device: str
    threads: int
    shapes: str
    tensors: int
    parameters: int
    dtype: str
    rounds: int
    rounds_planned: int
    stream: Streaming
    torch_first_s: float | None
    rows: tuple[Row, ...]
    peers: tuple[PeerRow, ...]
    not_installed: Mapping[str, str]
    absent: Mapping[str, str]
