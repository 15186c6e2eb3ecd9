"""A stored search gains optimizers and wider spaces; what it has run stays, so nothing narrows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from autotune import optimizers
from autotune.errors import AlreadyThere
from autotune.scheduler import widening
from autotune.search.events import Listener, Notice
from autotune.space import spaces
from autotune.space.coordinates import DEFAULT_WARMUP, Value, encode
from autotune.space.spaces import Choice, Parameter, Range, Space
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import SearchRecord, SearchState
from autotune.studies.spec import SearchSpec, differences, parse

Domain = Parameter | Value | None

NEW = "give --search NAME (in Python, name=) to begin a new one"
SPACE, OPTIMIZERS = "space", "optimizers"
SPENT = "; the search was complete: to try settings there, raise its budget as well"


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What a stored search gains; false where it gains nothing.

    Args:
        joined: The spaces of new optimizers.
        widened: The new spaces of optimizers that it has.
        notices: A sentence about each.
    """

    joined: Mapping[str, Space] = field(default_factory=dict)
    widened: Mapping[str, Space] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to store."""
        return bool(self.joined or self.widened)


def grows(key: str) -> bool:
    """Return whether a search may grow in this key of its spec."""
    return key == OPTIMIZERS or _of_space(key)


def _of_space(key: str) -> bool:
    return key.partition(".")[0] == SPACE


def growth(search: SearchRecord, spec: SearchSpec, found: Mapping[str, Space]) -> Growth:
    """Return what a stored search gains by a spec.

    Args:
        search: The search, its spaces as they were widened since.
        spec: What is asked of it now.
        found: The spaces of that.

    Raises:
        AlreadyThere: It would lose an optimizer, or a range would move or narrow.
    """
    known = {study.optimizer: study.space for study in search.studies}
    for name in known:
        if name not in found:
            raise AlreadyThere(
                f"search '{search.name}' has trials of {name}: a search may gain optimizers but "
                f"not lose them; name {name} as well, or {NEW}"
            )
    joined = {name: space for name, space in found.items() if name not in known}
    notices = [f"{name} joins the search with the budget that the others have" for name in joined]
    widened: dict[str, Space] = {}
    if any(map(_of_space, differences(parse(dict(search.spec)), spec))):
        spent = SPENT if search.state is SearchState.COMPLETE else ""
        for name, data in known.items():
            space = _kept(found[name], spaces.from_data(data, optimizers.defaults(name, data)))
            reasons = list(_reasons(search.name, name, space, data))
            if reasons:
                widened[name] = space
                notices.append(f"{name}: {'; '.join(reasons)}{spent}")
    return Growth(joined=joined, widened=widened, notices=tuple(notices))


def tell(gained: Growth, search: str, listen: Listener, mirror: Mirror) -> None:
    """Tell the user what a search gained, and have Optuna's tables filled anew."""
    for text in gained.notices:
        listen(Notice(text=text))
    for optimizer in gained.widened:
        # Optuna wants the same choices in all trials of a study.
        mirror.forget(f"{search}/{optimizer}")


def _kept(space: Space, old: Space) -> Space:
    """Return a space with the ranges that the search widened, where the user asks for no other."""
    own = {k: v for k, v in old.as_data().items() if k not in space.asked}
    return widening.recorded(space, own)


def _reasons(
    search: str, optimizer: str, space: Space, data: Mapping[str, list[object]]
) -> Iterator[str]:
    """Yield how each parameter is wider than before; refuses one that is narrower."""
    old = spaces.from_data(data, space.defaults)
    for name in dict.fromkeys([*old.parameters, *old.fixed, *space.parameters, *space.fixed]):
        before, after = _domain(old, name), _domain(space, name)
        if before is None:  # it stayed at the optimizer's default
            before = encode(space.defaults, DEFAULT_WARMUP).get(name)
        if not _covers(after, before):
            raise AlreadyThere(
                f"search '{search}' has searched {name} of {optimizer} {_said(before)}, got "
                f"{_said(after)}: a search may widen a range but not move or narrow it; hold "
                f"what was searched, or {NEW}"
            )
        if _said(after) != _said(before):
            yield f"{name} is now searched {_said(after)}, before {_said(before)}"


def _domain(space: Space, name: str) -> Domain:
    """Return a parameter, its one value, or None where it is no part of the space."""
    return space.parameters.get(name, space.fixed.get(name))


def _covers(after: Domain, before: Domain) -> bool:
    if isinstance(before, Range):
        return (
            isinstance(after, Range)
            and after.log == before.log
            and after.low <= before.low
            and before.high <= after.high
        )
    options = before.options if isinstance(before, Choice) else (before,)
    return all(_holds(after, option) for option in options)


def _holds(domain: Domain, value: Value | None) -> bool:
    if isinstance(domain, Choice):
        return value in domain.options
    if isinstance(domain, Range):
        return isinstance(value, float | int) and domain.low <= value <= domain.high
    return domain == value


def _said(domain: Domain) -> str:
    if isinstance(domain, Range):
        scale = "log" if domain.log else "linear"
        return f"from {domain.low:.3g} to {domain.high:.3g} ({scale})"
    if isinstance(domain, Choice):
        return f"among {', '.join(map(str, domain.options))}"
    return "not at all" if domain is None else f"only at {domain}"
