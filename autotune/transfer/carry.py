"""Restate a setting for a target by a set of rules, and say what changed and what is doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune import optimizers, registry
from autotune.errors import SpecError
from autotune.optimizers import controllers
from autotune.space import coordinates, spaces
from autotune.space.spaces import Range
from autotune.studies.setting import Setting
from autotune.transfer import DEFAULT, GROUP, LITERATURE
from autotune.transfer.base import ADAPTIVE, Change, Kind, Route, Rule
from autotune.transfer.kinds import kind_of

NOTHING = "none"  # word for a set without rules
SETS = {"default": DEFAULT, "literature": LITERATURE}  # words for sets
MEASURED = Route(batch=(1, 4), steps=(1, 10))  # how far benchmarks/transfer.py went
WIDTH = "lr for the width"


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A setting restated for a target.

    Args:
        setting: What the target gets.
        changes: What the rules said, in the order in which they were asked.
        warnings: What is doubtful about it.
    """

    setting: Setting
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()


def chosen(words: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of rules; ``default`` and ``literature`` are sets, ``none`` is no rule.

    Raises:
        UnknownName: No rule has that name.
        SpecError: ``none`` stands beside others, or a name is empty.
    """
    if words is None:
        return DEFAULT
    names = _named(words)
    if not all(names):
        raise SpecError(f"rules are names joined by +, got {'+'.join(words)!r}")
    if NOTHING in names and len(names) > 1:
        raise SpecError(f"rule '{NOTHING}' must stand alone, got {'+'.join(names)}")
    each = [n for name in names for n in SETS.get(name, (name,)) if n != NOTHING]
    for name in each:
        registry.check(GROUP, name)
    return tuple(dict.fromkeys(each))


def _named(words: Sequence[str]) -> list[str]:
    """Return the names of rules and sets as they were given."""
    return [name.strip() for word in words for name in word.split("+")]


def carry(
    optimizer: str,
    setting: Setting,
    route: Route,
    rules: Sequence[str] | None = None,
    space: Mapping[str, Any] | None = None,
    *,
    lenient: bool = False,
) -> Carried:
    """Return a setting restated by rules.

    Args:
        optimizer: Name of its optimizer.
        setting: As it was found.
        route: From the searched runs to the target.
        rules: Names of rules and of sets; None: the default set. A rule of a set that does not
            apply is left out.
        space: Where it was found, as plain data; a value that leaves it is warned of.
        lenient: Leave out any rule that does not apply, as of a set, with a warning.

    Raises:
        SpecError: A rule that was named does not apply to the optimizer.
        UnknownName: No rule has that name.
    """
    kind, names = kind_of(optimizer), chosen(rules)
    loaded: dict[str, Rule] = {name: registry.load(GROUP, name) for name in names}
    kept, said = _consistent(loaded)
    named = not lenient and names not in SETS.values()
    kept, left_out = _applicable(kept, kind, setting, named=named)
    now, changes = setting, []
    # A stored set is asked for by the names in it.
    one_by_one = {*_named(rules or ())} - SETS.keys() if names not in SETS.values() else set()
    for name in sorted(kept, key=lambda name: kept[name].reads_lr):
        new = kept[name].restate(setting, now, route, kind)
        changes += [_change(now, key, value, name, kept[name]) for key, value in new.items()]
        now = _changed(now, new)
        if not new and name in one_by_one and kept[name].follows in route.kept:
            what = kept[name].follows
            said.append(f"rule '{name}' changes nothing: the target has the {what} of the search")
    if route.width != 1 and all(rule.answers != WIDTH for rule in kept.values()):
        said.append(f"nothing follows the width of {route.width:g}x: rule 'width' is off, name it")
    moved = coordinates.encode(now.hyper, now.warmup)
    carried = Setting(params={**now.params, **moved}, hyper=now.hyper, warmup=now.warmup)
    outside = _outside(optimizer, setting, now, route, space or {})
    said += _unmeasured(kind, route) if names == DEFAULT else ()
    return Carried(setting=carried, changes=tuple(changes), warnings=(*said, *left_out, *outside))


def _unmeasured(kind: Kind, route: Route) -> Iterator[str]:
    """Yield why lr and weight decay, which the default set leaves as they are, may be wrong."""
    restate = "rule 'literature' restates them"
    if kind.family != ADAPTIVE and route.batch_ratio != 1:
        yield (
            f"lr and weight decay stay as they were found for a batch of {route.batch_ratio:g}x, "
            f"which was measured for adaptive methods, and {kind.optimizer} is none; {restate}"
        )
    elif _beyond(route):
        yield (
            "lr and weight decay stay as they were found, which was measured up to "
            f"{MEASURED.batch_ratio:g}x the batch and {MEASURED.steps_ratio:g}x the steps only, "
            f"and the target is {route.batch_ratio:g}x and {route.steps_ratio:g}x; {restate}"
        )


def _beyond(route: Route) -> bool:
    far = route.batch_ratio > MEASURED.batch_ratio
    return far or route.steps_ratio > MEASURED.steps_ratio


def _consistent(rules: Mapping[str, Rule]) -> tuple[dict[str, Rule], list[str]]:
    """Return the rules, of those that contradict each other the last, and what to say of it."""
    by_answer: dict[str, str] = {}
    said = []
    for name, rule in rules.items():
        other = by_answer.get(rule.answers)
        if other is not None:
            said.append(
                f"rules '{other}' and '{name}' contradict each other, as both are for "
                f"{rule.answers}: '{name}' counts"
            )
        by_answer[rule.answers] = name
    return {name: rule for name, rule in rules.items() if name in by_answer.values()}, said


def _applicable(
    rules: Mapping[str, Rule], kind: Kind, setting: Setting, *, named: bool
) -> tuple[dict[str, Rule], list[str]]:
    """Return the rules that apply to an optimizer; one that was named must."""
    kept, said = {}, []
    for name, rule in rules.items():
        why = rule.refuse(kind, setting)
        doubt = None if named else rule.doubt(kind)
        if why is None and doubt is None:
            kept[name] = rule
            continue
        if why is None:
            said.append(
                f"rule '{name}' is left out for {kind.optimizer}: {doubt}; name it to use it"
            )
            continue
        text = f"rule '{name}' does not apply to {kind.optimizer}: {why}"
        if named:
            raise SpecError(text)
        said.append(text)
    return kept, said


def _change(now: Setting, key: str, value: Any, name: str, rule: Rule) -> Change:
    old = now.warmup if key == "warmup" else now.hyper[key]
    return Change(name=key, old=old, new=value, rule=name, source=rule.source)


def _changed(now: Setting, new: Mapping[str, Any]) -> Setting:
    rest = {key: value for key, value in new.items() if key != "warmup"}
    return Setting(
        params=now.params, hyper={**now.hyper, **rest}, warmup=new.get("warmup", now.warmup)
    )


def _outside(
    optimizer: str, found: Setting, now: Setting, route: Route, space: Mapping[str, Any]
) -> Iterator[str]:
    """Yield which coordinates left the range that was searched; a timescale is a share of a run."""
    if not space:
        return
    known = spaces.from_data(space, optimizers.defaults(optimizer, space)).parameters
    before, after = (coordinates.encode(each.hyper, each.warmup) for each in (found, now))
    if "timescale" in after:
        after["timescale"] = float(after["timescale"]) / route.steps_ratio
    shares = controllers.begins(now.hyper)  # of a run: what moved kept its share of it
    for name, parameter in known.items():
        if not isinstance(parameter, Range) or name not in after or name in shares:
            continue
        value = float(after[name])
        if spaces.same(value, before.get(name)) or parameter.low <= value <= parameter.high:
            continue
        where = f"{parameter.low:g} to {parameter.high:g}"
        yield f"{name} is {value:.3g} for the target, outside the {where} that was searched"
