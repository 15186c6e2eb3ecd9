"""What every optimizer here shares: state, groups, checkpoints and the choice of backend."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from autotune.kernels import backends
from autotune.kernels.decay import DESCENT
from autotune.kernels.eager import precision
from autotune.kernels.norms import clip_factor
from autotune.kernels.rule import Part, Rule, Update
from autotune.kernels.win import WIN, WIN2
from autotune.optimizers import check

Group = dict[str, Any]
Space = Mapping[str, tuple[Any, ...]]
Presets = tuple[Mapping[str, Any], ...]

_WIN = {"win": WIN, "win2": WIN2}
_WHOLE = ("max_grad_norm", "backend")  # one value for the optimizer, not one a group


class RuleOptimizer(torch.optim.Optimizer):
    """A direction and an application, with the bookkeeping ``torch.optim`` asks for.

    A subclass names its direction and computes its scalars.

    Attributes:
        description: One line for lists.
        space: What a search may vary, as plain data.
        presets: Settings to try first; the defaults come before them.
        win_presets: The same, for the accelerated forms.
        shared_clock: Whether a group counts its steps, or each parameter those with a gradient.
        decays: How many ``betas`` there are.
    """

    description: ClassVar[str] = ""
    space: ClassVar[Space] = {}
    presets: ClassVar[Presets] = ()
    win_presets: ClassVar[Presets] = ()
    shared_clock: ClassVar[bool] = False
    decays: ClassVar[int] = 2

    def __init__(
        self,
        params: ParamsT,
        defaults: Group,
        *,
        max_grad_norm: float,
        backend: str,
        state_dtype: torch.dtype | None,
    ) -> None:
        backends.check(backend)
        check.at_least_zero("max_grad_norm", max_grad_norm)
        if state_dtype is not None:
            raise ValueError(
                f"state_dtype must be None in this version, got {state_dtype}; "
                "state is kept in float32, or in float64 for float64 parameters"
            )
        self.max_grad_norm = float(max_grad_norm)
        self.backend = backend
        super().__init__(params, defaults)

    @abstractmethod
    def direction(self, group: Group) -> Part:
        """Return what turns a group's gradients into updates."""

    @abstractmethod
    def scalars(self, group: Group, step: int, fresh: bool) -> tuple[float, ...]:
        """Return the direction's scalars, in its order.

        Args:
            group: The parameter group.
            step: Counted from one.
            fresh: Whether this is the first gradient its parameter has had.
        """

    def unaccelerated(self, group: Group) -> Part:
        """Return the application used when ``acceleration`` is 'none'."""
        return DESCENT

    def decay(self, group: Group) -> float:
        """Return the weight decay that the application applies; 0 when the direction does."""
        return float(group["weight_decay"])

    def trust_limit(self, group: Group) -> float | None:
        """Return the largest trust ratio, or None to scale by none."""
        return None

    def clip_eps(self) -> float:
        """Return what is added to the global norm: the last group's ``eps``, as the authors do."""
        return float(self.param_groups[-1]["eps"])

    def validate(self, group: Group) -> None:
        """Refuse a group's hyper-parameters that make no sense."""
        for name in ("lr", "eps", "weight_decay"):
            check.at_least_zero(name, group[name])
        check.one_of("acceleration", group["acceleration"], ("none", "win", "win2"))
        check.reckless_steps(group["reckless_steps"])
        if "betas" in group:
            check.betas(group["betas"], self.decays)

    @property
    def backend_used(self) -> str:
        """What runs the parameters: 'triton', 'numba' or 'torch', with commas when they differ."""
        params = (p for group in self.param_groups for p in group["params"])
        return ", ".join(sorted({backends.choose(self.backend, p) for p in params}))

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; what it does not set comes from the constructor."""
        for name in _WHOLE:
            if name in param_group:
                raise ValueError(f"{name} is one for the whole optimizer, got it in a group")
        self.validate({**self.defaults, **param_group})
        super().add_param_group(param_group)
        try:
            for p in self.param_groups[-1]["params"]:
                self._accept(p)
        except ValueError:
            self.param_groups.pop()
            raise

    def _accept(self, p: Tensor) -> None:
        if p.is_complex():
            raise ValueError(
                f"parameters must be real, got {p.dtype}; pass torch.view_as_real(parameter)"
            )
        backends.choose(self.backend, p)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step, after ``closure`` if there is one; return its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        work = self._collect()
        clip = self._clip(work)
        for (rule, backend), updates in work.items():
            backends.load(backend).step(rule, updates, clip)
        return loss

    def _collect(self) -> dict[tuple[Rule, str], list[Update]]:
        """Return the tensors that have a gradient, by how they are to be updated."""
        work: dict[tuple[Rule, str], list[Update]] = {}
        chosen: dict[torch.device, str] = {}
        for group, pairs in [(group, self._gradients(group)) for group in self.param_groups]:
            if self.shared_clock:
                group["step"] = group.get("step", 0) + 1
            rule, found = self._rule(group), dict[str, list[Update]]()
            rows: dict[tuple[int, bool], tuple[float, ...]] = {}
            for p, g in pairs:
                state, row = self._state(group, rule, p, rows)
                if p.device not in chosen:
                    chosen[p.device] = backends.choose(self.backend, p)
                found.setdefault(chosen[p.device], []).append(Update(p, g, state, row))
            for backend, updates in found.items():
                work.setdefault((rule, backend), []).extend(updates)
        return work

    def _gradients(self, group: Group) -> list[tuple[Tensor, Tensor]]:
        pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
        for _, g in pairs:
            if g.layout is not torch.strided:
                raise ValueError(
                    f"{type(self).__name__} takes dense gradients, got a sparse one; "
                    "build the layer with sparse=False"
                )
        return pairs

    def _rule(self, group: Group) -> Rule:
        application = _WIN.get(group["acceleration"]) or self.unaccelerated(group)
        trust = self.trust_limit(group) is not None
        return Rule(direction=self.direction(group), application=application, trust=trust)

    def _state(
        self, group: Group, rule: Rule, p: Tensor, rows: dict[tuple[int, bool], tuple[float, ...]]
    ) -> tuple[tuple[Tensor, ...], tuple[float, ...]]:
        """Return a parameter's buffers and row, after counting its step."""
        state = self.state[p]
        try:
            buffers, fresh = tuple([state[name] for name in rule.buffers]), False
        except KeyError:
            fresh = not all(name in state for name in rule.direction.buffers)
            buffers = self._fill(p, state, rule)
        if not self.shared_clock:
            state["step"] = state.get("step", 0) + 1
        key = (group["step"] if self.shared_clock else state["step"], fresh)
        if key not in rows:
            rows[key] = self._row(group, rule, *key)
        return buffers, rows[key]

    def _fill(self, p: Tensor, state: dict[str, Any], rule: Rule) -> tuple[Tensor, ...]:
        """Begin the buffers a parameter lacks: averages at zero, sequences at the parameter."""
        dtype = precision(p)
        for name in rule.direction.buffers:
            if name not in state:
                state[name] = torch.zeros_like(p, dtype=dtype)
        for name in rule.application.buffers:
            if name not in state:
                state[name] = torch.empty_like(p, dtype=dtype).copy_(p)
        return tuple([state[name] for name in rule.buffers])

    def _row(self, group: Group, rule: Rule, step: int, fresh: bool) -> tuple[float, ...]:
        gammas = group["reckless_steps"]
        known = {
            "lr": float(group["lr"]),
            "weight_decay": self.decay(group),
            "gamma1": gammas[0],
            "gamma2": gammas[1],
        }
        applying = [known[name] for name in rule.application.scalars]
        limit = self.trust_limit(group)
        return (*self.scalars(group, step, fresh), *applying, *([] if limit is None else [limit]))

    def _clip(self, work: Mapping[tuple[Rule, str], list[Update]]) -> Tensor | None:
        """Return what gradients are multiplied by; they are never written."""
        if not self.max_grad_norm or not work:
            return None
        parts = [
            backends.load(backend).squares([update.g for update in updates])
            for (_, backend), updates in work.items()
        ]
        home = parts[-1].device  # with one device nothing is copied, so nothing waits for it
        total = torch.stack([part.to(home) for part in parts]).sum()
        return clip_factor(total.sqrt(), self.max_grad_norm, self.clip_eps())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a checkpoint; tensors keep their dtype and take their parameter's layout."""
        super().load_state_dict(state_dict)
        saved = [i for group in state_dict["param_groups"] for i in group["params"]]
        own = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(saved, own, strict=True):
            if i in state_dict["state"]:
                kept = state_dict["state"][i]
                self.state[p] = {name: _placed(value, p) for name, value in kept.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), **{name: getattr(self, name) for name in _WHOLE}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}backend: {self.backend_used}\n)"


def _placed(value: Any, p: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.shape != p.shape:
        return value.detach().to(p.device, copy=True)
    return torch.empty_like(p, dtype=value.dtype, requires_grad=False).copy_(value)


def debias(decay: float, step: int) -> float:
    """Return what a running average that began at zero is divided by."""
    return 1.0 - decay**step
