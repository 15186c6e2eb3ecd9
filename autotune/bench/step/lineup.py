"""Who takes part in a benchmark, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from autotune import optimizers
from autotune.bench.step.contender import Contender, Entrant, Own, probe
from autotune.bench.step.peers import PEERS, Peer
from autotune.bench.step.plan import NOBODY, Plan
from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.kernels import backends
from autotune.registry import unknown


@dataclass(frozen=True, kw_only=True)
class Lineup:
    """Ours, the others, the packages of those not installed, and why the rest is absent."""

    own: Sequence[Entrant[Own]]
    peers: Sequence[Entrant[Peer]]
    not_installed: Mapping[str, str]
    absent: Mapping[str, str]

    @property
    def everyone(self) -> list[Entrant[Contender]]:
        """Those of one rule next to each other, so that they are timed close to each other."""
        return sorted((*self.own, *self.peers), key=lambda entrant: entrant.contender.rule)


def lineup(plan: Plan) -> Lineup:
    """Let everyone take a step with a small parameter; who cannot is absent."""
    dtype, device = plan.stage.torch_dtype, plan.stage.device
    names = _known("optimizer", plan.optimizers, optimizers.names())
    runnable, absent = _backends(plan.backends, device)
    own = [Own(rule=name, backend=backend) for name in names for backend in runnable]
    chosen = _peers(plan.against)
    peers, unable = enter([peer for peer in chosen if peer.installed], dtype, device)
    return Lineup(
        own=[Entrant(contender=each, traffic=probe(each, dtype, device)) for each in own],
        peers=peers,
        not_installed={peer.name: peer.package for peer in chosen if not peer.installed},
        absent=absent | unable,
    )


def _known(kind: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the names asked for once each, or all of them."""
    for name in asked:
        if name not in known:
            raise UnknownName(unknown(kind, name, known))
    return list(dict.fromkeys(asked or known))


def _backends(asked: Sequence[str], device: str) -> tuple[list[str], dict[str, str]]:
    """Return the backends that run parameters of a device; one asked for must."""
    runnable, absent = list[str](), dict[str, str]()
    p = torch.empty(1, device=device)
    known = [name for name in backends.NAMES if name != "auto"]
    for name in _known("backend", asked, known):
        try:
            backends.check(name)
            backends.choose(name, p)
            runnable.append(name)
        except (ValueError, ImportError) as error:
            absent[f"backend {name}"] = str(error)
            if asked:
                raise _refused(error) from None
    return runnable, absent


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


def enter(
    peers: Iterable[Peer], dtype: torch.dtype, device: str
) -> tuple[list[Entrant[Peer]], dict[str, str]]:
    """Return the peers that take a step here, and why the others do not."""
    ready, absent = list[Entrant[Peer]](), dict[str, str]()
    for peer in peers:
        if device not in peer.devices:
            absent[peer.name] = f"runs on {', '.join(peer.devices)} only"
            continue
        try:
            ready.append(Entrant(contender=peer, traffic=probe(peer, dtype, device)))
        # What other people's code raises is theirs: it is told, and the rest is measured.
        except Exception as error:
            absent[peer.name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ready, absent
