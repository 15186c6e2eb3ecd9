"""Which implementations are measured, why others are not, and what bytes their steps must move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from autotune import optimizers
from autotune.bench.step.implementations import PEERS, Implementation, Own, OwnOrPeer, Peer, quiet
from autotune.bench.step.workload import NOBODY, Options
from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.kernels import backends
from autotune.optimizers import RuleOptimizer
from autotune.optimizers.registry import second_order, stacks
from autotune.registry import unknown

_TWICE = "differentiates gradients once more, which tensors filled with noise do not allow"


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes a parameter: what a step reads and writes at least, and what is kept between steps."""

    reads: float
    writes: float
    state: float

    @property
    def total(self) -> float:
        """Return the bytes moved."""
        return self.reads + self.writes


def traffic(optimizer: torch.optim.Optimizer, p: Tensor) -> Traffic:
    """Return the traffic of an optimizer that has stepped ``p``, a parameter of several elements.

    Everything kept is read and written once. A trust ratio is known only after all of a tensor's
    update: the step then reads the parameter and the direction's new state again. Clipping reads
    all gradients before.
    """
    kept = {
        name: value.nbytes / p.numel()
        for name, value in optimizer.state[p].items()
        if isinstance(value, Tensor) and value.numel() == p.numel()
    }
    own, state = float(p.element_size()), sum(kept.values())
    again = 0.0
    if isinstance(optimizer, RuleOptimizer):
        rule = optimizer.rule(optimizer.param_groups[0])
        for _ in rule.shapings:
            again += own + sum(kept[name] for name in rule.averages)
        if optimizer.max_grad_norm:
            again += own
    return Traffic(reads=2 * own + state + again, writes=own + state, state=state)


_Kind_co = TypeVar("_Kind_co", bound=OwnOrPeer, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Probed(Generic[_Kind_co]):
    """An implementation that was seen to step, and the traffic of its steps."""

    implementation: _Kind_co
    traffic: Traffic


def probe(implementation: Implementation, dtype: torch.dtype, device: str) -> Traffic:
    """Take a step with a small matrix and return the traffic of such steps."""
    p = torch.zeros(2, 4, dtype=dtype, device=device, requires_grad=True)
    p.grad = torch.ones_like(p)
    with quiet():
        optimizer = implementation.build([p])
        optimizer.step()
    return traffic(optimizer, p)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Ours, the others, the packages of those not installed, and why the rest is absent."""

    own: Sequence[Probed[Own]]
    peers: Sequence[Probed[Peer]]
    not_installed: Mapping[str, str]
    absent: Mapping[str, str]

    @property
    def everyone(self) -> list[Probed[OwnOrPeer]]:
        """Those of one rule next to each other, so that they are timed close to each other."""
        return sorted((*self.own, *self.peers), key=lambda each: each.implementation.rule)


def select(options: Options) -> Selection:
    """Let everyone take a step with a small parameter; who cannot is absent."""
    dtype, device = options.workload.torch_dtype, options.workload.device
    names = _known("optimizer", options.optimizers, optimizers.names())
    twice = [name for name in names if second_order(name)]
    if options.optimizers and twice:
        raise SpecError(f"optimizer '{twice[0]}' {_TWICE}; leave it out, or time it in training")
    if not options.optimizers:
        # The others take seconds, and not for memory's sake, or differentiate gradients.
        names = [name for name in names if stacks(name)]
    usable, absent = _backends(options.backends, device)
    own = [Own(rule=name, backend=backend) for name in names for backend in usable]
    chosen = _peers(options.against)
    peers, unable = runnable([peer for peer in chosen if peer.installed], dtype, device)
    return Selection(
        own=[Probed(implementation=each, traffic=probe(each, dtype, device)) for each in own],
        peers=peers,
        not_installed={peer.name: peer.package for peer in chosen if not peer.installed},
        absent=absent | unable | dict.fromkeys(twice, _TWICE),
    )


def _known(kind: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the names asked for once each, or all of them."""
    for name in asked:
        if name not in known:
            raise UnknownName(unknown(kind, name, known))
    return list(dict.fromkeys(asked or known))


def _backends(asked: Sequence[str], device: str) -> tuple[list[str], dict[str, str]]:
    """Return the backends that run parameters of a device; one asked for must."""
    usable, absent = list[str](), dict[str, str]()
    p = torch.empty(1, device=device)
    known = [name for name in backends.NAMES if name != "auto"]
    for name in _known("backend", asked, known):
        try:
            backends.check(name)
            backends.choose(name, p)
            usable.append(name)
        except (ValueError, ImportError) as error:
            absent[f"backend {name}"] = str(error)
            if asked:
                raise _refused(error) from None
    return usable, absent


def _refused(error: Exception) -> Exception:
    return (MissingExtra if isinstance(error, ImportError) else SpecError)(str(error))


def _peers(asked: Sequence[str]) -> list[Peer]:
    """Return the peers asked for, or all of them."""
    if NOBODY in asked:
        others = ", ".join(name for name in asked if name != NOBODY)
        if others:
            raise SpecError(f"--against {NOBODY} stands alone, got also {others}")
        return []
    known = {peer.name: peer for peer in PEERS}
    chosen = [known[name] for name in _known("peer", asked, list(known))]
    for peer in chosen:
        if asked and not peer.installed:
            raise MissingExtra(
                f"peer '{peer.name}' needs {peer.package}, which is not installed; "
                "install it, or measure without --against"
            )
    return chosen


def runnable(
    peers: Iterable[Peer], dtype: torch.dtype, device: str
) -> tuple[list[Probed[Peer]], dict[str, str]]:
    """Return the peers that take a step here, and why the others do not."""
    ready, absent = list[Probed[Peer]](), dict[str, str]()
    for peer in peers:
        if device not in peer.devices:
            absent[peer.name] = f"runs on {', '.join(peer.devices)} only"
            continue
        try:
            ready.append(Probed(implementation=peer, traffic=probe(peer, dtype, device)))
        # What other people's code raises is theirs: it is told, and the rest is measured.
        except Exception as error:
            absent[peer.name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ready, absent
