"""Where trials compute: the CPU, a GPU that CUDA or ROCm drives, or Apple's GPU.

Only this module names kinds of devices; ``tests/autotune/test_devices.py`` looks for others.

The process that starts workers must not initialise CUDA: each of its children would hold some
hundred megabytes more of the GPU. What it needs to know is asked of NVML, the driver's own library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from autotune.drivers import errors, graphs, memory, nvml
from autotune.errors import SpecError

if TYPE_CHECKING:
    import torch
    from torch import nn

AUTO, GPU = "auto", "cuda"  # names that --device takes
VISIBLE = nvml.VISIBLE
WITHOUT_FLOAT64 = {"mps"}  # kinds that lack it
OLDEST = (7, 0)  # compute capability of the oldest GPUs that `auto` takes: Triton's too
_TEXT = re.compile(r"auto|cpu|mps|cuda(:[0-9]+)?")


@dataclass(frozen=True)
class Device:
    """A device by its kind, as torch names it, and its index among those of this process.

    Args:
        kind: ``cpu``, ``cuda`` (ROCm's, too), ``mps``; tests have ``meta`` and pretended ones.
        index: Which of several GPUs; None where any of them will do, and this process's first is
            taken.
    """

    kind: str
    index: int | None = None

    def __str__(self) -> str:
        """Return the device as ``--device`` takes it."""
        return self.kind if self.index is None else f"{self.kind}:{self.index}"

    @property
    def place(self) -> torch.device:
        """Return torch's name of it."""
        import torch

        if self.kind in ("cpu", "mps", "meta"):
            return torch.device(self.kind)
        if self.kind == "cuda" and self.index is None and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return torch.device(self.kind, torch.cuda.current_device())
        return torch.device(self.kind, self.index or 0)

    @property
    def waits(self) -> bool:
        """Tell whether reading a number has to wait for work that is still queued."""
        return self.kind != "cpu"

    @property
    def sum_dtype(self) -> torch.dtype:
        """Return what losses are added up in."""
        import torch

        return torch.float32 if self.kind in WITHOUT_FLOAT64 else torch.float64

    def move(self, batch: Any) -> Any:
        """Return a batch on the device: tensors in tuples, lists, dicts and dataclasses are moved.

        What has a method ``to`` of its own is asked; anything else stays as it is.
        """
        return batch if self.kind == "cpu" else _each(batch, partial(_sent, where=self.place))

    def place_model(self, model: nn.Module) -> nn.Module:
        """Move a model's weights and buffers to the device, and return the model.

        Raises:
            SpecError: It holds numbers that the device cannot compute with.
        """
        if self.kind in WITHOUT_FLOAT64:
            for weight in (*model.parameters(), *model.buffers()):
                _sent(weight.detach()[:0] if weight.ndim else weight, self.place)
        return model.to(self.place)

    def pinned(self, batch: Any) -> Any:
        """Return a batch in memory from which it is moved without waiting, where there is such."""
        return _each(batch, _pinned) if self.kind == "cuda" else batch

    def numbers(self, tensors: Sequence[torch.Tensor]) -> list[float]:
        """Return what tensors hold as one list of numbers, asking the device once."""
        import torch

        flat = [tensor.detach().reshape(-1) for tensor in tensors]
        if not self.waits or not flat:
            return [number for each in flat for number in each.tolist()]
        found: list[float] = torch.cat(
            [each.to(self.place, self.sum_dtype) for each in flat]
        ).tolist()
        return found

    def fetch(self, tensors: Sequence[torch.Tensor]) -> Callable[[], list[float]]:
        """Ask for what tensors hold; what is returned waits for them, as ``numbers`` does."""
        import torch

        if self.kind != "cuda" or not tensors:
            return partial(self.numbers, tensors)
        found = torch.cat([tensor.reshape(-1).to(self.sum_dtype) for tensor in tensors])
        # Into pinned memory, so that nobody waits for the copy.
        copied = found.to("cpu", non_blocking=True)
        over = torch.cuda.current_stream(self.place).record_event()

        def answer() -> list[float]:
            over.synchronize()
            numbers: list[float] = copied.tolist()
            return numbers

        return answer

    def graph(self) -> graphs.Graph | None:
        """Return an empty graph of it, where it takes whole pieces of work as such."""
        return graphs.Graph() if self.kind == "cuda" else None

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        import torch

        if self.kind in ("cuda", "mps"):
            getattr(torch, self.kind).synchronize()

    def generator(self) -> torch.Generator | None:
        """Return the generator that the device's random numbers come from, if it has its own."""
        import torch

        if self.kind == "mps":
            return torch.mps._get_default_mps_generator()
        if self.kind != "cuda":
            return None
        torch.cuda.init()  # type: ignore[no-untyped-call]  # before, there are none
        return torch.cuda.default_generators[self.place.index]

    def seed(self, number: int) -> None:
        """Seed the generator of the device, and of no other."""
        import torch

        (self.generator() or torch.default_generator).manual_seed(number)

    def memory(self) -> memory.Memory | None:
        """Return its memory; None where the system does not say."""
        import torch

        if self.kind == "cpu":
            return memory.of_host()
        if self.kind != "cuda":
            return None
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return memory.Memory(*torch.cuda.mem_get_info(self.place))
        card = self._card()
        return None if card is None else memory.Memory(*card.memory)

    def capability(self) -> tuple[int, int] | None:
        """Return a GPU's compute capability; None of anything else."""
        card = self._card()
        return None if card is None else card.capability

    def _card(self) -> nvml.Card | None:
        """Return what the driver says of a GPU; None where there is none, as where Ray begins."""
        cards = gpus(os.environ.get(VISIBLE)) if self.kind == "cuda" else ()
        return cards[self.index or 0] if cards else None

    def exactly(self, *, strict: bool) -> AbstractContextManager[None]:
        """Return what makes float32 be that inside, and equal seeds give equal numbers.

        ``strict``: also of torch's own algorithms.
        """
        if self.kind != "cuda":
            return nullcontext()
        from autotune.drivers.exact import exactly

        return exactly(strict=strict)

    def identity(self) -> dict[str, str]:
        """Return what tells trials on it from those on other kinds; nothing of the CPU.

        Searches that were stored before there was a choice of devices keep their facts.
        """
        return {} if self.kind == "cpu" else {"device": self.kind}

    def facts(self) -> dict[str, Any]:
        """Return what a report says of the device; nothing of a CPU."""
        if self.kind == "cpu":
            return {}
        found, card = {"device": self.kind}, self._card()
        if card is None:
            return found
        import torch

        from autotune.drivers.exact import tf32

        return {
            **found,
            "gpu": card.name,
            "capability": ".".join(map(str, card.capability)),
            "driver": card.driver,
            "cuda": torch.version.cuda or torch.version.hip,
            "tf32": tf32(),
        }


CPU = Device("cpu")


@contextmanager
def only(text: str) -> Iterator[str]:
    """Let this process, and those it starts, see the one GPU that ``cuda:<index>`` names.

    Yields the kind, for that GPU is the only one inside; whatever names no index, as it is.

    Raises:
        SpecError: It is not there.
    """
    index = resolve(text).index if ":" in text else None
    if index is None:
        yield text
        return
    import torch

    before = os.environ.get(VISIBLE)
    names = before.split(",") if before else list(map(str, range(index + 1)))
    begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    current = torch.cuda.current_device() if begun else 0
    try:
        os.environ[VISIBLE] = names[index]
        if begun:  # it reads the variable no more
            torch.cuda.set_device(index)
        yield text.partition(":")[0]
    finally:
        _put_back(before)
        if begun:
            torch.cuda.set_device(current)


def _put_back(visible: str | None) -> None:
    if visible is None:
        del os.environ[VISIBLE]
    else:
        os.environ[VISIBLE] = visible


def resolve(text: str) -> Device:
    """Return the device that ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` or ``mps`` asks for.

    ``auto`` takes a GPU by CUDA if there is one of compute capability 7.0 or more, else the CPU.

    Raises:
        SpecError: It is none of these, or is not there.

    Example:
        >>> resolve("cpu")
        Device(kind='cpu', index=None)
    """
    if not _TEXT.fullmatch(text):
        raise SpecError(f"device must be auto, cpu, cuda, cuda:<index> or mps, got '{text}'")
    kind, _, index = text.partition(":")
    if kind == "cuda":
        return _gpu(text, int(index) if index else None)
    if kind == "mps":
        return _apple()
    return _automatic() if kind == "auto" else CPU


def _automatic() -> Device:
    cards = gpus(os.environ.get(VISIBLE))
    # The first is the one that a process takes which is told of none.
    return Device("cuda") if cards and cards[0].capability >= OLDEST else CPU


def _gpu(text: str, index: int | None) -> Device:
    import torch

    count = len(gpus(os.environ.get(VISIBLE)))
    if not count:
        why = "no GPU is to be seen"
        if not (torch.version.cuda or torch.version.hip):
            why = f"PyTorch {torch.__version__} is built without CUDA"
        raise SpecError(f"device '{text}' is not there: {why}; use device cpu")
    if index is not None and index >= count:
        known = "cuda:0 alone is" if count == 1 else f"cuda:0 to cuda:{count - 1} are"
        raise SpecError(f"device '{text}' is not there: {known}")
    return Device("cuda", index)


def _apple() -> Device:
    import torch

    if not torch.backends.mps.is_available():
        raise SpecError("device 'mps' is not there: PyTorch sees no GPU of Apple; use device cpu")
    return Device("mps")


def release() -> None:
    """Give back the memory of a GPU that this process holds and does not use."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


sticky, of_capture = errors.sticky, errors.of_capture


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a batch with what it holds changed: tensors, and what has a method ``to`` as they."""
    import torch

    if isinstance(value, torch.Tensor) or (hasattr(value, "to") and callable(value.to)):
        return change(value)
    if isinstance(value, Mapping):
        return _remade(value, {key: _each(part, change) for key, part in value.items()})
    if isinstance(value, tuple | list):
        return _gathered(value, [_each(part, change) for part in value])
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return _filled(value, {name: _each(part, change) for name, part in parts.items()})
    return value


def _sent(value: Any, where: torch.device) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        return value.to(where)
    if value.dtype in (torch.float64, torch.complex128) and where.type in WITHOUT_FLOAT64:
        kind = str(value.dtype).removeprefix("torch.")
        raise SpecError(
            f"device '{where.type}' computes no {kind}, got a batch or a model that holds some; "
            "convert it with .float(), or use device cpu"
        )
    return value.to(where, non_blocking=True)


def _pinned(value: Any) -> Any:
    return value.pin_memory() if hasattr(value, "pin_memory") else value


def apart(batch: Any) -> Any:
    """Return a batch of the same memory, whose parts can be taken out or need a gradient alone."""
    return _each(batch, _detached)


def _detached(value: Any) -> Any:
    import torch

    return value.detach() if isinstance(value, torch.Tensor) else value


def _gathered(old: tuple[Any, ...] | list[Any], parts: list[Any]) -> Any:
    """Return a tuple or list of the old one's type; a named tuple takes its parts one by one."""
    return type(old)(*parts) if hasattr(old, "_fields") else type(old)(parts)


def _remade(old: Mapping[Any, Any], parts: dict[Any, Any]) -> Any:
    """Return a mapping of the old one's type, which may have to be made in a way of its own."""
    if type(old) is dict:
        return parts
    made = copy(old)
    for key, part in parts.items():
        made[key] = part  # type: ignore[index]
    return made


def _filled(old: Any, parts: dict[str, Any]) -> Any:
    """Return a copy of a dataclass, which may be frozen or compute fields when it is made."""
    made = copy(old)
    for name, part in parts.items():
        object.__setattr__(made, name, part)
    return made


def gpus(visible: str | None) -> tuple[nvml.Card, ...]:
    """Return the GPUs of this process without initialising CUDA.

    Args:
        visible: The value of CUDA_VISIBLE_DEVICES, or None where it is not set.
    """
    import torch

    if (torch.version.cuda is None and torch.version.hip is None) or visible == "":
        return ()
    return nvml.cards(visible)
