"""What a validation runs: the tuned setting by each set of rules, and what it has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autotune.errors import NotFound, NothingUsable, SpecError
from autotune.registry import check_installed, unknown
from autotune.results.best import whole
from autotune.results.comparison import REFERENCE, Comparison, Row
from autotune.scheduler import validating
from autotune.studies.records import Role, TrialRecord
from autotune.studies.setting import Setting
from autotune.studies.validations import Entrant, Plan
from autotune.transfer.base import Route
from autotune.transfer.carry import carry, chosen
from autotune.transfer.targets import Amount

FEWEST = 4  # settings for a rank correlation


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be validated, and what it may cost.

    Args:
        study: "search" or "search/optimizer"; without an optimizer, the one with the lowest loss.
        steps: Steps of a run, or as "5x" a multiple of the search's.
        batch: Samples of a batch, likewise; None: the search's.
        rules: Sets of rules, each to be compared; None: the default one.
        seeds: Fresh seeds for each setting; None: as many as the search judges on.
        settings: How many settings of the search to rank at the longer run too; 0: none.
        runs: Limit in runs of that length; None: what the settings and seeds need.
        minutes: Limit in minutes; while some are left, settings are run on more seeds.
        workers: Runs side by side; None: as the search had it.
        model: The text of a function that was given again; None: the search's model.
    """

    study: str
    steps: Amount = "5x"
    batch: Amount | None = None
    rules: Sequence[Sequence[str]] | None = None
    seeds: int | None = None
    settings: int = 0
    runs: float | None = None
    minutes: float | None = None
    workers: int | None = None
    model: str | None = None


def judged_row(found: Comparison, optimizer: str | None, what: str) -> Row:
    """Return an optimizer whose tuned setting was judged; None takes the one with the lowest loss.

    ``what``: what the search has not without it, for the sentence.
    """
    rows, name = {row.optimizer: row for row in found.rows}, found.search.name
    if optimizer is not None and optimizer not in rows:
        raise NotFound(f"search '{name}': {unknown('optimizer', optimizer, rows)}")
    row = rows[optimizer] if optimizer else found.rows[0]
    if not row.tuned.losses:
        raise NothingUsable(f"search '{name}' has {what}: {row.verdict}")
    check_installed(name, row.optimizer)
    return row


def source_of(trials: Sequence[TrialRecord], setting: Setting) -> int:
    """Return the number of the search trial that first ran a judged setting."""
    judged = (t for t in trials if t.role is Role.JUDGE)
    return next(t.source for t in judged if t.setting.trains_like(setting)) or 0


def row_of(found: Comparison, optimizer: str | None) -> Row:
    """Return the optimizer whose tuned setting is validated."""
    row, name = judged_row(found, optimizer, "nothing to validate"), found.search.name
    if not row.changed and _rival(found, row) is None:
        raise NothingUsable(
            f"search '{name}' has nothing to validate: tuning {row.optimizer} found nothing better "
            f"than {row.default.called}"
        )
    return row


def _rival(found: Comparison, row: Row) -> Row | None:
    """Return the reference that a tuned setting has to beat as well, if it was judged."""
    others = (one for one in found.rows if one.optimizer == REFERENCE and one is not row)
    return next((one for one in others if one.tuned.losses), None)


def planned(
    asked: Asked,
    found: Comparison,
    row: Row,
    trials: Mapping[str, Sequence[TrialRecord]],
    way: Route,
) -> Plan:
    """Return what a validation runs, on seeds that are not yet chosen.

    Args:
        asked: What is to be validated.
        found: The comparison of the search.
        row: The optimizer whose tuned setting it is about.
        trials: The search's trials by optimizer.
        way: From the search's runs to the longer ones.

    Raises:
        SpecError: A rule that was named does not apply, or too few settings can be ranked.
        UnknownName: No rule has that name.
    """
    if way.steps is None:
        raise SpecError("a validation needs the steps of the search, which are not recorded")
    sets = tuple(dict.fromkeys(map(chosen, [None] if asked.rules is None else asked.rules)))
    rival = _rival(found, row)
    sets, same = _distinct([row, rival] if rival else [row], way, sets)
    own, doubts = _tuned(found, row, trials[row.optimizer], way, sets)
    doubts = [*same, *doubts]
    entrants = [*own]
    # A setting that is its own default has only tuned AdamW to beat.
    if row.changed and (row.default.losses or row.default.failures):
        entrants.append(_default(row))
    if rival:
        others = _tuned(found, rival, trials[rival.optimizer], way, sets, rival=True)
        entrants += others[0]
        doubts += [text for text in others[1] if text not in doubts]
    ranked = _ranked(asked, found, row, trials[row.optimizer], way, sets[0])
    return Plan(
        optimizer=row.optimizer,
        source=own[0].source,
        times=way.steps_ratio,
        steps=way.steps[1],
        batch_size=way.batch[1] if way.batch else None,
        rules=sets,
        entrants=(*entrants, *ranked),
        first_seed=0,
        doubts=tuple(doubts),
    )


def _distinct(
    rows: Sequence[Row], way: Route, sets: Sequence[tuple[str, ...]]
) -> tuple[tuple[tuple[str, ...], ...], list[str]]:
    """Return the sets of rules that give each a setting of its own, and what to say of others.

    One setting by two names would be trained twice, and cost both the certainty of a comparison.
    """
    kept: dict[tuple[str, ...], list[Setting]] = {}
    said = []
    for rules in sets:
        new = [
            carry(row.optimizer, row.tuned.setting, way, rules, lenient=place > 0).setting
            for place, row in enumerate(rows)
        ]
        twin = next((other for other, old in kept.items() if _alike(old, new)), None)
        if twin is None:
            kept[rules] = new
        else:
            said.append(
                f"the settings by {_named(rules)} are those by {_named(twin)}: they are trained "
                "once, as by the latter"
            )
    return tuple(kept), said


def _alike(some: Sequence[Setting], others: Sequence[Setting]) -> bool:
    return all(one.trains_like(other) for one, other in zip(some, others, strict=True))


def _named(rules: Sequence[str]) -> str:
    return f"rules '{'+'.join(rules)}'" if rules else "no rule"


def _tuned(
    found: Comparison,
    row: Row,
    trials: Sequence[TrialRecord],
    way: Route,
    sets: Sequence[tuple[str, ...]],
    *,
    rival: bool = False,
) -> tuple[list[Entrant], list[str]]:
    """Return the tuned setting of an optimizer by each set of rules, and what is doubtful.

    ``rival``: what a rule that was named for another optimizer need not apply to.
    """
    source = source_of(trials, row.tuned.setting)
    space = next(s.space for s in found.search.studies if s.optimizer == row.optimizer)
    entrants, doubts = [], []
    for rules in sets:
        carried = carry(row.optimizer, row.tuned.setting, way, rules, space, lenient=rival)
        doubts += [f"{row.optimizer}: {text}" for text in carried.warnings]
        entrants.append(
            Entrant(
                key=f"{row.optimizer} tuned, {'+'.join(rules) or 'no rule'}",
                optimizer=row.optimizer,
                which="tuned",
                source=source,
                setting=carried.setting,
                rules=rules,
            )
        )
    return entrants, list(dict.fromkeys(doubts))


def _default(row: Row) -> Entrant:
    """Return what is used without tuning: at any length, it is what it is."""
    return Entrant(
        key=f"{row.optimizer} {row.default.word}",
        optimizer=row.optimizer,
        which="default",
        source=0,
        setting=row.default.setting,
    )


def _ranked(
    asked: Asked,
    found: Comparison,
    row: Row,
    trials: Sequence[TrialRecord],
    way: Route,
    rules: tuple[str, ...],
) -> Iterator[Entrant]:
    """Yield settings that the search ran to their end, from its best to its worst."""
    if not asked.settings:
        return
    order = whole(trials)
    if len(order) < asked.settings:
        raise SpecError(
            f"search '{found.search.name}' ran {len(order)} settings of {row.optimizer} to their "
            f"end, too few to rank {asked.settings}"
        )
    last = len(order) - 1
    for place in range(asked.settings):
        trial = order[round(place * last / (asked.settings - 1))]
        carried = carry(row.optimizer, trial.setting, way, rules)
        yield Entrant(
            key=f"{row.optimizer} trial {trial.number}",
            optimizer=row.optimizer,
            which=validating.RANKED,
            source=trial.number,
            setting=carried.setting,
            rules=rules,
            proxy=trial.loss,
        )
