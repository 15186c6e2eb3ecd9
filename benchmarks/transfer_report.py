"""What ``transfer.py --report`` writes: tables of sets of rules, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from statistics import fmean

import numpy as np
from real_clock_results import Log
from transfer_results import (
    Array,
    Case,
    Effect,
    Runs,
    effects,
    percent,
    spread,
    verdict,
)

from autotune.results.intervals import estimate

Who = tuple[str, str]  # which setting, and by which set of rules
Target = tuple[int, int]  # times the steps, times the batch
FEWEST = 5  # tasks for a comparison
REFERENCE = "literature"  # word for the set that all are compared with


@dataclass(frozen=True)
class Recorded:
    """Log losses of the runs.

    Args:
        runs: What was run.
        log: What was found before.
        carried: By case, the hash of each setting.
        sets: Of rules, in the order of the tables.
        reference: The one that others are compared with.
    """

    runs: Runs
    log: Log
    carried: Mapping[Case, Mapping[Who, str]]
    sets: Sequence[str]
    reference: str

    def losses(self, case: Case, whos: Sequence[Who]) -> Array | None:
        """Return log losses of contenders on the seeds that all of them ran; None without any.

        A run that diverged, or ended above the loss of a constant answer, counts as that answer.
        """
        hashes = self.carried[case]
        if any(who not in hashes for who in whos):
            return None
        own = [self.runs.of(case, hashes[who]) for who in whos]
        seeds = sorted(set.intersection(*(set(each) for each in own)))
        if not seeds:
            return None
        worst = self._constants[case.task]
        return np.log([[min(each[seed], worst) for each in own] for seed in seeds])

    @cached_property
    def _constants(self) -> dict[str, float]:
        return {each["task"]: each["constant"] for each in self.log.of("found")}

    @cached_property
    def spreads(self) -> dict[str, float]:
        """Each task's spread of log losses over seeds; tasks of single seeds are left out."""
        by_task: dict[str, list[Array]] = {}
        for case in self.carried:
            found = self.losses(case, self.tuned)
            if found is not None:
                by_task.setdefault(case.task, []).append(found)
        each = {name: spread(found) for name, found in by_task.items()}
        return {name: size for name, size in each.items() if size}

    @property
    def tuned(self) -> list[Who]:
        """The tuned setting by each set of rules."""
        return [("tuned", name) for name in self.sets]

    def word(self, rules: str) -> str:
        """Return a set's name in the tables, where the reference has a short one."""
        return rules.replace(self.reference, REFERENCE)

    def at(self, targets: Iterable[Target]) -> list[Case]:
        """Return the cases at some targets."""
        wanted = set(targets)
        return sorted(case for case in self.carried if (case.steps, case.batch) in wanted)

    def ran(self) -> dict[Target, set[tuple[str, str]]]:
        """Return which tasks and optimizers were run at each target of other length or batch."""
        found: dict[Target, set[tuple[str, str]]] = {}
        for case in sorted(self.carried):
            target = (case.steps, case.batch)
            if target != (1, 1) and self.losses(case, self.tuned) is not None:
                found.setdefault(target, set()).add((case.task, case.optimizer))
        return dict(sorted(found.items()))

    def against(self, targets: Iterable[Target], rival: Who) -> dict[str, list[Array]]:
        """Return by task each case's differences of the tuned setting to another, by set."""
        found: dict[str, list[Array]] = {}
        for case in self.at(targets):
            own = self.losses(case, [*self.tuned, rival])
            if own is not None and case.task in self.spreads:
                found.setdefault(case.task, []).append(own[:, :-1] - own[:, -1:])
        return found

    def advantages(self, targets: Iterable[Target]) -> dict[str, list[Array]]:
        """Return by task each case's differences of tuned to default by the same set."""
        found: dict[str, list[Array]] = {}
        for case in self.at(targets):
            rivals = [("default", name) for name in self.sets]
            own = self.losses(case, [*self.tuned, *rivals])
            if own is not None and case.task in self.spreads:
                tuned, default = np.split(own, 2, axis=1)
                found.setdefault(case.task, []).append(tuned - default)
        return found

    def effects(self, sampled: Mapping[str, Sequence[Array]]) -> list[Effect]:
        """Return each set's effect."""
        return effects(self.sets, sampled, self.spreads)


def report(
    runs: Runs,
    log: Log,
    carried: Mapping[Case, Mapping[Who, str]],
    sets: Sequence[str],
    reference: str,
) -> str:
    """Return all tables."""
    recorded = Recorded(runs, log, carried, sets, reference)
    ran = recorded.ran()
    targets = [target for target in ran if ran[target] == set().union(*ran.values())]
    rest = {f"Not every task, {t[0]}x/{t[1]}x": [t] for t in ran if t not in targets}
    parts = [_counted(recorded), _short(recorded)]
    for title, some in {**_families(targets), **rest}.items():
        parts += _compared(recorded, title, some)
    parts += [_by_task(recorded, targets), _grids(recorded), _losses(recorded)]
    return "\n\n".join(part for part in parts if part)


def _families(targets: Sequence[Target]) -> dict[str, list[Target]]:
    found = {
        "All targets": list(targets),
        "Longer, same batch": [each for each in targets if each[1] == 1],
        "Larger batch, same steps": [each for each in targets if each[0] == 1],
        "Longer and larger": [each for each in targets if min(each) > 1],
    }
    return {title: some for title, some in found.items() if some}


def _counted(recorded: Recorded) -> str:
    seeds: dict[Target, set[int]] = {}
    for (case, _), own in recorded.runs.losses.items():
        seeds.setdefault((case.steps, case.batch), set()).update(own)
    told = ", ".join(f"{s}x/{b}x {len(seeds[s, b])}" for s, b in sorted(seeds))
    tasks = len({case.task for case in recorded.carried})
    count = sum(map(len, recorded.runs.losses.values()))
    return (
        f"{count} runs of {tasks} tasks; seeds begun by target (steps/batch): {told}. "
        f"`{REFERENCE}` is {recorded.reference}."
    )


def _short(recorded: Recorded) -> str:
    found = recorded.advantages([(1, 1)])
    if len(found) < FEWEST:
        return ""
    whole = recorded.effects(found)[0]
    return f"In the short runs themselves, tuned against default: loss {percent(whole)}."


def _compared(recorded: Recorded, title: str, targets: Sequence[Target]) -> list[str]:
    """Return the tables of a family of targets."""
    found = recorded.against(targets, ("tuned", recorded.reference))
    if len(found) < FEWEST:
        return []
    compared = recorded.effects(found)
    kept = _by_set(recorded, recorded.advantages(targets))
    apart = _by_set(recorded, recorded.against(targets, ("target", "none")))
    rows: dict[tuple[str, ...], list[str]] = {}
    for each in sorted(compared, key=lambda each: each.mean):
        last = (percent(some[each.rules]) if some else "" for some in (kept, apart))
        rows.setdefault((*_cells(each), *last), []).append(recorded.word(each.rules))
    header = (
        "rules", f"loss against {REFERENCE}", "in spreads", "tasks lower / higher", "p",
        "tuned against default, both by it", "against tuned at the target",
    )  # fmt: skip
    text = ", ".join(f"{steps}x/{batch}x" for steps, batch in targets)
    text = f"{text}; {len(found)} tasks"
    told = table(header, [(", ".join(names), *cells) for cells, names in rows.items()])
    words = [replace(each, rules=recorded.word(each.rules)) for each in compared]
    return [f"### {title} ({text})", told, verdict(words, REFERENCE)]


def _cells(effect: Effect) -> tuple[str, ...]:
    if not effect.better + effect.worse:
        return "the same", "", "", ""
    counts = f"{effect.better} / {effect.worse}"
    return percent(effect), f"{effect.spreads:+.2f}", counts, f"{effect.p:.3f}"


def _by_set(recorded: Recorded, sampled: Mapping[str, Sequence[Array]]) -> dict[str, Effect]:
    """Return effects by the set's name, none of too few tasks."""
    found = recorded.effects(sampled) if len(sampled) >= FEWEST else []
    return {each.rules: each for each in found}


def _by_task(recorded: Recorded, targets: Sequence[Target]) -> str:
    """Return tasks x rules: a task's mean over its cases, with an interval over these."""
    found = recorded.against(targets, ("tuned", recorded.reference))
    names = [name for name in recorded.sets if name != recorded.reference]
    rows = []
    for task, cases in sorted(found.items()):
        means = np.array([case.mean(0) for case in cases])
        own = dict(zip(recorded.sets, means.T, strict=True))
        rows.append((task, *(_change(own[name].tolist()) for name in names)))
    header = ("task", *map(recorded.word, names))
    return "### Tasks and rules, loss in percent\n\n" + table(header, rows) if rows else ""


def _change(values: Sequence[float]) -> str:
    """Write a mean change of the loss in percent, with its t interval."""
    found = estimate(values)
    if found.low is None or found.high is None:
        return f"{100 * math.expm1(found.mean):+.1f}"
    mean, low, high = (100 * math.expm1(each) for each in (found.mean, found.low, found.high))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})" if any(values) else "0"


def _grids(recorded: Recorded) -> str:
    """Return where the best rates and decays were at the targets that were tuned at."""
    rows = []
    for steps, batch in sorted(
        {(each["steps"], each["batch"]) for each in recorded.log.of("grid")}
    ):
        own = recorded.log.of("grid", steps=steps, batch=batch)
        cells = [_factors(own, name) for name in ("rate", "decay")]
        rows.append((f"{steps}x/{batch}x", str(len({each["task"] for each in own})), *cells))
    header = ("steps/batch", "tasks", "best lr / tuned lr", "best weight decay / tuned")
    return "### Tuned at the target\n\n" + table(header, rows) if rows else ""


def _factors(grids: Sequence[Mapping[str, float]], name: str) -> str:
    """Write the geometric mean of factors over tasks, with its t interval."""
    by_task: dict[float, list[float]] = {}
    for each in grids:
        by_task.setdefault(each["task"], []).append(math.log(each[name]))
    found = estimate([fmean(each) for each in by_task.values()])
    if found.low is None or found.high is None:
        return f"{math.exp(found.mean):.2f}"
    return f"{math.exp(found.mean):.2f} ({math.exp(found.low):.2f} to {math.exp(found.high):.2f})"


def _losses(recorded: Recorded) -> str:
    """Return geometric means of the losses themselves."""
    whos = [("default", "none"), ("tuned", "none"), ("tuned", recorded.reference)]
    rows = []
    for case in sorted(recorded.carried):
        target = recorded.losses(case, [("target", "none")])
        own = recorded.losses(case, whos)
        if own is not None:
            told = [f"{math.exp(each):.4g}" for each in own.mean(0)]
            last = "" if target is None else f"{math.exp(target.mean()):.4g}"
            where = asdict(case)
            names = (where["task"], where["optimizer"], f"{case.steps}x/{case.batch}x")
            rows.append((*names, str(len(own)), *told, last))
    header = (
        "task", "optimizer", "steps/batch", "seeds", "default", "tuned", f"tuned, {REFERENCE}",
        "tuned at the target",
    )  # fmt: skip
    return "### Losses\n\n" + table(header, rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
