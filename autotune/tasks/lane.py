"""What a loop of the user's own has of its process while it runs, and nothing else has.

Several of them take turns in one process, and between two turns the process is ours. A loop may be
left in the middle of anything: within ``torch.no_grad()``, under autocast, with numbers drawn. So
chance, torch's modes and what ``surroundings`` tells of are its own: saved where it is left, put
back when it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.utils import _device

from autotune.devices import CPU, Device
from autotune.tasks import chance, surroundings

# Any: torch's types lack some of what these hold.
cudnn: Any = torch.backends.cudnn
overrides: Any = torch.overrides
State = dict[str, Any]


class Lane:
    """The process as one loop has it.

    Args:
        *seed: What its chance follows from.
        device: Where it computes.
    """

    def __init__(self, *seed: int | str, device: Device = CPU) -> None:
        self._seed, self._device = seed, device
        self._own: State | None = None
        self._changed: surroundings.State = {}
        self._inference: AbstractContextManager[Any] | None = None
        self._chance: chance.Chance = {}

    @property
    def chance(self) -> chance.Chance:
        """Return how its generators stood when it was left."""
        return self._chance

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run code of the loop."""
        shared, modes, drawn = surroundings.taken(), _taken(), chance.taken()
        self._enter()
        try:
            yield
        finally:
            self._own, self._chance = _taken(), chance.taken()
            if torch.is_inference_mode_enabled():
                self._inference = torch.inference_mode(mode=False)
                self._inference.__enter__()
            _put(modes)
            chance.put(drawn)
            self._changed = surroundings.changes(shared)
            surroundings.put_back(shared)

    def _enter(self) -> None:
        if self._own is None:
            chance.sow(*self._seed, device=self._device)
            return
        surroundings.make_again(self._changed)
        if self._inference is not None:
            self._inference.__exit__(None, None, None)
            self._inference = None
        _put(self._own)
        chance.put(self._chance)


def _products() -> tuple[str, bool] | None:
    """Return how float32 is multiplied; None where that was set by its later name.

    torch refuses to mix the two.
    """
    try:
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32
    except RuntimeError:
        return None


def _set_products(value: tuple[str, bool] | None) -> None:
    if value is not None:
        torch.set_float32_matmul_precision(value[0])
        cudnn.allow_tf32 = value[1]


def _convolutions() -> tuple[bool, bool, bool]:
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic


def _set_convolutions(value: tuple[bool, bool, bool]) -> None:
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic = value


def _deterministic() -> tuple[bool, bool]:
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _kinds() -> list[str]:
    found = torch.accelerator.current_accelerator()
    return [CPU.kind, *([found.type] if found else [])]


def _autocast() -> State:
    """Return what is under autocast, and how deep within its contexts."""
    depth = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    kinds = {k: (torch.is_autocast_enabled(k), torch.get_autocast_dtype(k)) for k in _kinds()}
    return {"depth": depth, "cache": torch.is_autocast_cache_enabled(), "kinds": kinds}


def _set_autocast(state: State) -> None:
    while torch.autocast_decrement_nesting() >= 0:
        pass
    torch.clear_autocast_cache()  # what one loop has cast is no other's
    for _ in range(state["depth"] + 1):
        torch.autocast_increment_nesting()
    torch.set_autocast_cache_enabled(state["cache"])
    for kind, (enabled, dtype) in state["kinds"].items():
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _functions() -> State:
    """Return torch's function modes, of which the default device is one."""
    stack = overrides._get_current_function_mode_stack()
    default = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return {"stack": stack, "default": default, "current": _device.CURRENT_DEVICE}


def _set_functions(state: State) -> None:
    now = _functions()
    for _ in now["stack"]:
        overrides._pop_mode()
    for mode in state["stack"]:
        overrides._push_mode(mode)
    torch._GLOBAL_DEVICE_CONTEXT.device_context = state["default"]
    _device.CURRENT_DEVICE = state["current"]


_MODES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "autocast": (_autocast, _set_autocast),
    "functions": (_functions, _set_functions),
    "deterministic": (_deterministic, _set_deterministic),
    "anomaly": (_anomaly, lambda both: torch.set_anomaly_enabled(*both)),
    "products": (_products, _set_products),
    "convolutions": (_convolutions, _set_convolutions),
    "threads": (torch.get_num_threads, torch.set_num_threads),
}


def _taken() -> State:
    return {name: get() for name, (get, _) in _MODES.items()}


def _put(state: State) -> None:
    for name, (get, put) in _MODES.items():
        if get() != state[name]:
            put(state[name])
