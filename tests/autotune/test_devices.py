"""Devices by name, batches on their way to one, errors that spoil one; no GPU is needed."""

from __future__ import annotations

import os
from collections import UserDict, namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune import devices
from autotune.devices import CPU, Device, resolve, sticky
from autotune.drivers.exact import tf32
from autotune.drivers.nvml import Card
from autotune.errors import SpecError

ROOT = Path(__file__).parents[2]
META = Device("meta")
OLD = Card(name="old", capability=(6, 1), driver="1", memory=(1, 2))
NEW = Card(name="new", capability=(9, 0), driver="1", memory=(3, 4))

# What says "cuda" beside devices.py, and why it may.
MAY = {
    "drivers/": "asks the driver of GPUs",
    "engines/gpus.py": "sets CUDA_VISIBLE_DEVICES of a worker",
    "bench/machine.py": "names the device whose steps are measured",
    "bench/step": "measures steps by the clock of a device",
    "bench/gpu": "measures on a GPU and nowhere else",
    "cli/shared/step_options.py": "takes the device whose steps are measured",
    "cli/shared/spec_options.py": "tells what --device takes",
    "cli/commands/": "tells what --device takes",
    "api/tune.py": "tells what device= takes",
    "testing/graph.py": "tells what a CUDA graph refuses",
    "testing/golden.py": "replays recordings on a GPU where there is one",
    "cli/views/step_times.py": "shows columns that only a GPU has",
}


def says_cuda() -> set[str]:
    """Return the modules of autotune/ that do, without those of folders that it links to."""
    top, found = ROOT / "autotune", set()
    for folder, _, names in os.walk(top):
        for path in (Path(folder, name) for name in names if name.endswith(".py")):
            if "cuda" in path.read_text(encoding="utf-8").lower():
                found.add(path.relative_to(top).as_posix())
    return found


def test_nothing_else_names_a_kind_of_gpu():
    found = says_cuda()
    assert "devices.py" in found
    assert not {name for name in found if not name.startswith(("devices.py", *MAY))}
    assert all(any(name.startswith(may) for name in found) for may in MAY)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[Card]:
    """Return the GPUs that are said to be there, to be filled."""
    found: list[Card] = []
    monkeypatch.setattr(devices, "gpus", lambda visible: tuple(found))
    return found


def test_auto_is_the_cpu_where_there_is_no_gpu(cards):
    assert resolve("auto") == CPU


def test_auto_takes_a_gpu_that_is_new_enough(cards):
    cards.append(NEW)
    assert resolve("auto") == Device("cuda")


def test_auto_leaves_an_old_gpu_alone(cards):
    cards.append(OLD)
    assert resolve("auto") == CPU


def test_a_gpu_is_asked_for_by_its_index(cards):
    cards += [NEW, NEW]
    assert resolve("cuda:1") == Device("cuda", 1)
    assert resolve("cuda:1").memory() == (3, 4)


def test_an_unknown_device_is_refused():
    rule = r"^device must be auto, cpu, cuda, cuda:<index> or mps, got 'gpu'$"
    with pytest.raises(SpecError, match=rule):
        resolve("gpu")


@pytest.mark.skipif(torch.version.cuda is not None, reason="PyTorch knows GPUs")
def test_a_gpu_is_refused_by_a_pytorch_without_any():
    rule = r"^device 'cuda' is not there: PyTorch .* is built without CUDA; use device cpu$"
    with pytest.raises(SpecError, match=rule):
        resolve("cuda")


def test_a_gpu_beyond_the_last_is_refused(cards):
    cards.append(NEW)
    with pytest.raises(SpecError, match=r"^device 'cuda:9' is not there: cuda:0 alone is$"):
        resolve("cuda:9")
    cards.append(NEW)
    with pytest.raises(SpecError, match=r"^device 'cuda:9' is not there: cuda:0 to cuda:1 are$"):
        resolve("cuda:9")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is a GPU of Apple")
def test_apples_gpu_is_refused_where_there_is_none():
    rule = r"^device 'mps' is not there: PyTorch sees no GPU of Apple; use device cpu$"
    with pytest.raises(SpecError, match=rule):
        resolve("mps")


Pair = namedtuple("Pair", "inputs labels")


@dataclass(frozen=True)
class Sample:
    image: torch.Tensor
    name: str = "a"


class Own:
    """Has a way of its own to a device, as batches of graphs have."""

    def __init__(self, where: str = "cpu") -> None:
        self.where = where

    def to(self, where: torch.device) -> Own:
        return Own(str(where))


def test_tensors_are_moved_wherever_they_are_in_a_batch():
    one = torch.ones(2)
    batch = {"pair": Pair(one, [one, 3]), "sample": Sample(one), "more": UserDict(x=one), "n": None}
    moved: Any = META.move(batch)
    assert [type(value) for value in moved.values()] == [type(value) for value in batch.values()]
    assert moved["pair"].inputs.is_meta
    assert moved["pair"].labels[0].is_meta
    assert moved["pair"].labels[1] == 3
    assert moved["sample"].image.is_meta
    assert moved["sample"].name == "a"
    assert moved["more"]["x"].is_meta
    assert not batch["more"]["x"].is_meta


def test_what_knows_its_way_to_a_device_is_asked():
    assert META.move((Own(),))[0].where == "meta"


def test_a_batch_for_the_cpu_is_the_batch_itself():
    batch = [torch.ones(1)]
    assert CPU.move(batch) is batch


def test_a_cpu_has_no_facts_and_tells_its_memory():
    assert CPU.facts() == {}
    free, total = CPU.memory() or (0, 0)
    assert 0 < free <= total


def test_seeding_the_cpu_seeds_torch():
    with torch.random.fork_rng(devices=[]):
        CPU.seed(3)
        one = torch.rand(2)
        CPU.seed(3)
        assert torch.equal(one, torch.rand(2))


@pytest.mark.parametrize(
    ("error", "spoilt"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `gemm`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), True),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), True),
        (torch.AcceleratorError("CUDA error: out of memory", 2), False),
        (torch.OutOfMemoryError("CUDA out of memory."), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `create`"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `gemm`"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA error"), False),
    ],
    ids=lambda value: str(value)[:48],
)
def test_an_error_of_a_gpu_spoils_its_process_or_not(error, spoilt):
    assert sticky(error) is spoilt


def test_asking_for_devices_starts_no_cuda(cards):
    cards.append(NEW)
    resolve("auto")
    assert Device("cuda", 0).capability() == (9, 0)
    assert not torch.cuda.is_initialized()


def flags() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.backends.cuda.matmul.fp32_precision == "tf32",
        cudnn.conv.fp32_precision == "tf32",
        cudnn.rnn.fp32_precision == "tf32",
        cudnn.deterministic,
        cudnn.benchmark,
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def test_float32_is_that_inside_and_what_it_was_after(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    torch.backends.cudnn.allow_tf32 = True  # torch's default
    before = flags()
    assert tf32()
    with Device("cuda").exactly(strict=True):
        assert not tf32()
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        assert flags()[3:] == (True, False, 1, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert flags() == before
    assert torch.backends.cudnn.allow_tf32


def test_a_users_tf32_by_its_later_name_is_off_inside_and_on_after():
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        with Device("cuda").exactly(strict=False):
            assert not tf32()
            assert torch.get_deterministic_debug_mode() == 0
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_nothing_of_a_cpus_is_set():
    before = flags()
    with CPU.exactly(strict=True):
        assert flags() == before


WIDE = r"^device 'meta' computes no float64, got a batch or a model that holds some; "


def test_float64_is_refused_where_a_device_has_none(monkeypatch):
    monkeypatch.setattr(devices, "WITHOUT_FLOAT64", {"meta"})
    assert META.sum_dtype is torch.float32
    with pytest.raises(SpecError, match=WIDE + r"convert it with .float\(\), or use device cpu$"):
        META.move((torch.ones(2), torch.ones(2, dtype=torch.float64)))
    model = torch.nn.BatchNorm1d(2)
    assert META.place_model(model).weight.is_meta
    with pytest.raises(SpecError, match=WIDE):
        META.place_model(torch.nn.Linear(1, 1).double())
