"""What every optimizer here shares: state, groups, checkpoints and the choice of backend."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.optim.optimizer import ParamsT

from autotune.kernels import backends
from autotune.kernels.rule import Part, Shaping
from autotune.kernels.rules import cautious
from autotune.kernels.rules.decay import DESCENT
from autotune.kernels.triton import tables
from autotune.optimizers import (
    anchor,
    applications,
    averaging,
    capturable,
    check,
    checkpoints,
    compact,
    compiled,
    composition,
    hyper,
    scaling,
    sharded,
    stepping,
)
from autotune.optimizers.eager import COMPILER, eager
from autotune.optimizers.groups import split
from autotune.optimizers.options import Transforms
from autotune.optimizers.scalars import Scalar
from autotune.optimizers.tentative import Pending
from autotune.optimizers.transforms import check_group, filled

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.nn import Module

    from autotune.optimizers.controller import Controller
    from autotune.optimizers.gradients import Given

Group = dict[str, Any]
Space = Mapping[str, tuple[Any, ...]]
Presets = tuple[Mapping[str, Any], ...]

# How a step runs, for the whole optimizer: groups cannot set it.
_WHOLE = ("backend", "state_dtype", "stochastic_rounding", "compact", "capturable")
_SWITCHES = ("stochastic_rounding", "compact", "capturable")


class RuleOptimizer(torch.optim.Optimizer):
    """The base of optimizers: it runs a rule, and keeps state as ``torch.optim`` does.

    A rule has a direction, which turns gradients into updates, and an application, which changes
    the parameters by them. A subclass names its direction and computes its scalars.

    Attributes:
        description: One line for lists.
        space: What a search may vary, as plain data.
        half_lives: Of the coordinates of ``space`` that are one minus a decay, those whose average
            has to fit into a run: the shortest and the longest half-life a search tries, as parts
            of its runs.
        recommended: What its authors recommend to begin with, where that is not the defaults: what
            tuning is compared with.
        win_recommended: The same, for the accelerated forms.
        presets: Settings to try first, after these; the first of them is tried at other
            learning rates too, so it should be what does best in short runs.
        win_presets: The same, for the accelerated forms.
        forms: Endings of its name, as 'win', written out: they are read from the source.
        needs: By acceleration: arguments that have no use under it, with the value they must have.
        filter_presets: By gradient filter: settings to try first with it, before ``presets``.
        sf_space, sf_recommended, sf_presets: What is its own in the Schedule-Free form.
        shared_clock: True if a group counts its steps; False if each parameter counts the steps in
            which it has a gradient.
        family: How its updates follow the size of the gradients: 'adaptive' (they are divided by
            it), 'sign' (only signs count, or only the directions of a matrix) or 'sgd' (in
            proportion, or lr is raised for larger batches as if they were). Rules that carry a
            setting over to another batch read it.
        layerwise: Whether steps are scaled by the norms of their parameter already.
        timescale: Whether a step shrinks parameters by lr * weight_decay of them, so that the
            inverse is a number of steps.
        decays: How many ``betas`` there are.
        square_beta: Which of them ``exp_avg_sq`` is kept by.
        cautious_floor: The least mean of the mask that divides a cautious update.
        decoupled: Whether weight decay is outside the gradient. A checkpoint with the other kind is
            refused; None takes both.
        second_order: Whether a step differentiates the gradients once more: a training loop then
            computes them by the optimizer's own ``backward(loss)``.
        unfit: Of the options of ``transforms``, the values that its rule cannot take, and why.
        spare: State that a checkpoint may lack, or have without need.
        computed: State of torch's namesake that is not kept, as it follows from the step.
        stackable: Whether ``Stacked`` can step replicas by it: its rule does all that a step does.
        norm_group: Processes that hold other parameters of the same model, or other pieces of
            them, whose gradients count in the norm for clipping. Set it on
            ``ZeroRedundancyOptimizer(...).optim`` and under FullyShardedDataParallel, where it is
            the group that a parameter is cut over; DTensors do not need it.
    """

    description: ClassVar[str] = ""
    space: ClassVar[Space] = {}
    half_lives: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({})
    recommended: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    win_recommended: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    presets: ClassVar[Presets] = ()
    win_presets: ClassVar[Presets] = ()
    forms: ClassVar[tuple[str, ...]] = ("win", "win2")
    needs: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    filter_presets: ClassVar[Mapping[str, Presets]] = MappingProxyType({})
    sf_space: ClassVar[Space] = {}
    sf_recommended: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    sf_presets: ClassVar[Presets] = ()
    shared_clock: ClassVar[bool] = False
    family: ClassVar[str] = "adaptive"
    layerwise: ClassVar[bool] = False
    timescale: ClassVar[bool] = True
    decays: ClassVar[int] = 2
    square_beta: ClassVar[int] = 1
    cautious_floor: ClassVar[float] = 1e-3
    decoupled: ClassVar[bool | None] = None
    second_order: ClassVar[bool] = False
    unfit: ClassVar[Mapping[str, Mapping[Any, str]]] = MappingProxyType({})
    spare: ClassVar[tuple[str, ...]] = ()
    computed: ClassVar[tuple[str, ...]] = ()
    stackable: ClassVar[bool] = True
    norm_group: ProcessGroup | None = None
    controller: Controller | None = None  # what writes multipliers of its groups
    stochastic_rounding: bool
    compact: bool
    capturable: bool
    _averages = False  # whether a group ever measured other weights than its parameters
    _filters = False  # whether a group ever had a gradient filter
    _evaluating = False  # whether eval() has put averages into parameters
    _inspected: sharded.Inspected | None = None  # at the first step
    _tentative: Pending | None = None
    _opt_called = False  # a scheduler of torch asks whether a step came before its own
    _scaling: bool | None = None  # what a user set; None asks the backend

    def __init__(
        self,
        params: ParamsT,
        defaults: Group,
        *,
        max_grad_norm: float,
        backend: str,
        state_dtype: torch.dtype | None,
        stochastic_rounding: bool = False,
        compact: bool = False,
        capturable: bool = False,
        transforms: Transforms | None = None,
    ) -> None:
        backends.check(backend)
        check.state_dtype(state_dtype)
        self.backend = backend
        self.state_dtype = state_dtype
        for name, on in zip(_SWITCHES, (stochastic_rounding, compact, capturable), strict=True):
            check.switch(name, check.plain(on))
            setattr(self, name, bool(on))
        self._tables = tables.Tables() if capturable else None
        self.tensors: list[Tensor] = []
        self._shares: dict[int, Tensor] = {}  # of new base points, by group, on the device
        self._rates: dict[int, Tensor] = {}  # learning rates with multipliers, likewise
        self._number = compiled.register(self)
        defaults = {**defaults, "max_grad_norm": max_grad_norm}
        if transforms is not None:
            defaults.update(filled(transforms))
        if self.decoupled is not None:
            defaults["decoupled_weight_decay"] = self.decoupled
        self.watch = hyper.Watch(list(defaults))
        self.defaults = defaults
        hyper.settle(self, defaults)
        super().__init__(params, defaults)

    max_grad_norm = property(hyper.limit_of_all, hyper.limit_all)

    @classmethod
    def split(cls, model: Module, hyper: Mapping[str, Any]) -> list[Group]:
        """Return a model's parameters in the groups that keyword arguments ask for."""
        return split(model, hyper.get("weight_decay", 0.0))

    @abstractmethod
    def direction(self, group: Group) -> Part:
        """Return what turns a group's gradients into updates."""

    @abstractmethod
    def scalars(self, group: Group, step: Scalar, fresh: bool) -> tuple[Scalar, ...]:
        """Return the direction's scalars, in its order.

        Args:
            group: The parameter group.
            step: Counted from 1: a number, or with ``capturable`` and for replicas what stands for
                one. Arithmetic and the functions of ``autotune.optimizers.scalars`` take both;
                for a formula that needs more of it, it is a tensor or a number, and steps take
                longer.
            fresh: Whether this is the first gradient its parameter has had.
        """

    def unaccelerated(self, group: Group) -> Part:
        """Return the application used when ``acceleration`` is 'none'."""
        return DESCENT

    def decay(self, group: Group) -> float:
        """Return the weight decay that the application applies; 0 when the direction does."""
        return float(group["weight_decay"])

    def shaping(self, group: Group) -> Shaping | None:
        """Return what makes an update depend on its whole tensor, or None if nothing does."""
        return cautious.CAUTIOUS if group.get("cautious") else None

    def shaping_scalars(self, group: Group, step: Scalar, lr: Scalar) -> tuple[Scalar, ...]:
        """Return the scalars of the group's shaping, in its order; ``step`` as for ``scalars``."""
        return group.get("cautious_factor", 0.0), self.cautious_floor

    def clip_eps(self) -> float:
        """Return what is added to the global norm: the last group's ``eps``, as the authors do."""
        return float(self.param_groups[-1]["eps"])

    def validate(self, group: Group) -> None:
        """Refuse a group whose hyper-parameters are out of range."""
        check.rate("lr", group["lr"])
        for name in [n for n in ("eps", "weight_decay") if n in group]:
            check.at_least_zero(name, group[name])
        check.decoupled(type(self).__name__, self.decoupled, group)
        check.reckless_steps(group["reckless_steps"])
        if "betas" in group:
            check.betas(group["betas"], self.decays)
        applications.check_group(self, group)
        check.cautious(group)
        check_group(self, group)

    @property
    def backend_used(self) -> str:
        """The backend that runs the parameters; several are separated by commas."""
        homes = sharded.homes(self.parameters())
        return ", ".join(sorted({backends.choose(self.backend, p) for p in homes}))

    schedule = property(applications.schedule)
    _step_supports_amp_scaling = property(scaling.inside, scaling.claim)

    def parameters(self) -> list[Tensor]:
        """Return the parameters of all groups, in their order."""
        return [p for group in self.param_groups for p in group["params"]]

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; what it does not set comes from the constructor."""
        for name in _WHOLE:
            # An equal value is taken: ZeroRedundancyOptimizer writes it into its groups.
            if param_group.pop(name, getattr(self, name)) != getattr(self, name):
                raise ValueError(check.one_for_all(name))
        check.group_keys(param_group)
        limit = self.max_grad_norm
        if check.plain(param_group.setdefault("max_grad_norm", limit)) != limit:
            raise ValueError(check.one_for_all("max_grad_norm"))
        hyper.settle(self, param_group)
        eager(super().add_param_group)(param_group)
        stepping.once(self.param_groups[-1])
        try:
            stepping.check_group(self, self.param_groups[-1])
        except (ImportError, ValueError):
            self.param_groups.pop()
            raise
        if self.capturable:
            capturable.place_rate(self.param_groups[-1])
        self.tensors = self.parameters()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        ``torch.compile(fullgraph=True)`` takes it as one operator, also under torch's schedulers;
        if a library has put its own ``step`` here, write ``type(optimizer).step(optimizer)``.

        Args:
            closure: Called first, if given: it computes the gradients, and returns the loss.

        Returns:
            The loss that ``closure`` returned, or None.

        Raises:
            ValueError: A gradient is sparse, complex, or not of its parameter's shape.
            TypeError, ValueError: Someone has set a value in ``param_groups`` that is no
                hyper-parameter, as a beta of 1. Nothing is changed then.
            RuntimeError: A CUDA graph captures the step and ``capturable`` is False, or no step was
                taken before the capture.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if torch.compiler.is_compiling():
            compiled.step(self._number, self.tensors)
        elif COMPILER in sys.modules:
            self.advance()
        else:  # not through ``eager``: that is a call more in each step
            self._advance_eagerly()
        return loss

    # Schedulers of torch then leave the method as it is, which a compiler could not see through
    # theirs: all that theirs does is to set _opt_called.
    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]

    def _advance_eagerly(self, given: Given | None = None) -> None:
        """Take one step; ``given`` has the tensors to step, if a compiler holds copies of them."""
        self._opt_called = True
        capturable.refuse_capture(self)
        with nullcontext() if self._tables is None else self._tables.in_use():
            self._advance(given)

    advance = _disable_dynamo(_advance_eagerly)

    _advance = stepping.advance
    _settle = stepping.settle
    rule = composition.rule
    reanchor = anchor.reanchor
    eval = averaging.evaluate
    train = averaging.train
    interpolation = averaging.interpolation
    pace = averaging.pace
    averages = property(averaging.averages)

    def state_dict(self) -> dict[str, Any]:
        """Return a checkpoint; its groups have the words of ``param_groups``, with plain values."""
        self._settle()
        saved: dict[str, Any] = eager(super().state_dict)()
        if self.compact:
            compact.write_out(saved, self.parameters())
        if self.capturable:
            capturable.write_out(saved)
        for group in saved["param_groups"]:
            group.update({k: check.saved(v, k in self.watch.names) for k, v in group.items()})
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a checkpoint with its hyper-parameters, so that training goes on as before.

        It may come from this class, from the authors' code (their names, and those in Adan's state
        before December 2022, are translated), or from ``torch.optim``: AdamW into AdamW, SGD into
        SGD, and Adam into Adam, which goes on exactly so with ``eps_after_correction=True``. State
        gets the dtype that this optimizer keeps, without being rounded to the parameter's dtype
        first, and its parameter's layout.

        ``torch.distributed.checkpoint.state_dict`` first takes a step with learning rate and
        gradients of 0 if there is no state yet, also to save. It counts as one, as with torch's
        own optimizers: save after the first real step, or build the optimizer anew. With Win it may
        change the last bits of parameters: load the optimizer's state before the model's weights.

        Raises:
            ValueError: The checkpoint is of another optimizer or acceleration, lacks state, or has
                values out of range. The optimizer is then unchanged.
        """
        self._settle()
        # Added last, it runs after the user's own hooks, which may convert the checkpoint.
        hook = self.register_load_state_dict_pre_hook(
            lambda _, saved: checkpoints.translated(self, saved)
        )
        try:
            eager(super().load_state_dict)(state_dict)
        finally:
            hook.remove()

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        whole = {name: getattr(self, name) for name in _WHOLE}
        own: dict[str, Any] = {
            "watch": hyper.Watch(self.watch.names),
            "_scaling": self._scaling,
        }
        if self.controller is not None:
            own["controller"] = self.controller
        return {**super().__getstate__(), **whole, **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.tensors = self.parameters()
        if "_number" not in self.__dict__:
            self._number = compiled.register(self)
            self._tables = tables.Tables() if self.capturable else None
        self._shares, self._rates = {}, {}
        self._evaluating = averaging.evaluating(self)
        hyper.upgrade(self)
        for group in self.param_groups:
            if self.capturable:
                capturable.place_rate(group)
        checkpoints.unpack(self.state, self.state_dtype)
        controller = state.get("controller")  # a copy's; a checkpoint that is loaded names none
        if controller is not None:
            controller.follow(self)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}backend: {self.backend_used}\n)"
