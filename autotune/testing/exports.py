"""What every export has to do; a plugin subclasses ``ExportContract`` in its tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autotune import export
from autotune.errors import SpecError
from autotune.results.intervals import Estimate
from autotune.results.tuned import Conventions, Evidence, Provenance, Schedule, Tuned

HOSTILE = (
    "a\"b'c",
    '"""\nimport os\n"""',
    "back\\slash\\",
    "\\N{broken} \\x \\u12 \\",
    "${name} {0} %s $$",
    "# comment: [1, 2] {a: b} &a *a !!python/none",
    "line\r\nnext\u2028next\x85end\x00\x1b[31m",
    "right\u202eleft",
    "naïve 試験 \U0001f600",
)


def tuned_for_test() -> Tuned:
    """Return a record with every kind of value a setting may hold."""
    return Tuned(
        optimizer="adan-win2",
        hyper={
            "lr": 2.5e-05,
            "betas": (0.9812345678901234, 0.92, 0.99),
            "eps": 1e-08,
            "weight_decay": 0.02,
            "decay": "proximal",
            "reckless_steps": (2.0, 8.0),
            "max_grad_norm": 0.0,
        },
        schedule=Schedule(warmup_fraction=0.1),
        conventions=Conventions(),
        tuned_on={"model": "resnet-mini", "data": "digits-pair", "steps": 60, "batch_size": 32},
        evidence=_evidence(),
        warnings=("tuned over 60 steps at batch size 32: re-tune or re-check lr",),
        provenance=Provenance(
            search="mini",
            trial=17,
            origin="trial 17 (sobol)",
            created="2026-11-21T20:00:00+00:00",
            environment={"packages": {"adan-autotune": "0.1.0", "torch": "2.13.0"}},
        ),
        space={
            "lr": ["log", 1e-05, 0.3],
            "decayed": ["choice", ["yes", "no"]],
            "timescale": ["log", 30.0, 2e6, 30.0, 1e6],
            "one_minus_beta1": ["log", 0.005, 0.5],
            "warmup": ["linear", 0.0, 0.5],
            "eps": ["fixed", 1e-08],
        },
    )


def _evidence() -> Evidence:
    return Evidence(
        loss=Estimate(mean=1.25, low=1.2, high=1.3, n=3),
        accuracy=None,
        seeds=(11, 12, 13),
        default=Estimate(mean=1.5, low=1.4, high=1.6, n=3),
        difference=Estimate(mean=-0.25, low=-0.3, high=-0.2, n=3),
        verdict="tuned adan-win2 beats its default by 0.2500 (95% interval -0.3000 to -0.2000)",
        reference_verdict=None,
        trials=20,
        full_runs=8.5,
    )


def hostile(text: str, good: Tuned | None = None) -> Tuned:
    """Return a record with ``text`` wherever a person's words end up."""
    good = good or tuned_for_test()
    return replace(
        good,
        tuned_on={**good.tuned_on, "model": text, "data": text},
        evidence=replace(good.evidence, verdict=text, reference_verdict=text),
        warnings=(text,),
        provenance=replace(good.provenance, search=text, origin=text),
    )


class ExportContract:
    """Subclass it, name the format and read its text back."""

    format: str

    def record(self) -> Tuned:
        """Return the record that is rendered: of what a format that refuses Win can say."""
        return tuned_for_test()

    def read(self, text: str) -> tuple[str, Mapping[str, Any], float]:
        """Return the optimizer, its arguments and the warm-up that a consumer reads."""
        raise NotImplementedError

    def check(self, tuned: Tuned) -> None:
        """Fail unless the real consumer reads back what the record says."""
        name, hyper, warmup = self.read(export.render(tuned, self.format))
        _same("optimizer", name, tuned.optimizer)
        _same("warmup", warmup, tuned.warmup)
        read = {key: _plain(value) for key, value in hyper.items()}
        _same("hyper", read, {key: _plain(value) for key, value in tuned.hyper.items()})

    def test_it_is_registered(self) -> None:
        """Its entry point is found."""
        _same("registered", self.format in export.formats(), True)

    def test_its_suffix_starts_with_a_dot(self) -> None:
        """The ending of its files is one a person would type."""
        _same("suffix", export.suffix(self.format)[:1], ".")

    def test_what_it_writes_is_read_back(self) -> None:
        """Every number survives to the last bit."""
        self.check(self.record())

    def test_numbers_of_any_size_are_read_back(self) -> None:
        """Tiny and huge floats stay floats."""
        for number in (1e-300, 1e-8, 1e-05, 0.1 + 0.2, 1.0, 1e16, 1e22):
            good = self.record()
            self.check(replace(good, hyper={**good.hyper, "lr": number}))

    def test_words_of_a_person_cannot_break_it(self) -> None:
        """Quotes, newlines and control characters stay inside what they stand in."""
        for text in HOSTILE:
            self.check(hostile(text, self.record()))

    def test_equal_records_give_equal_text(self) -> None:
        """Rendering depends on nothing but the record."""
        first = export.render(self.record(), self.format)
        _same("text", export.render(self.record(), self.format), first)

    def test_it_ends_with_one_newline(self) -> None:
        """Files compare and concatenate well."""
        text = export.render(self.record(), self.format)
        _same("ending", text[len(text.rstrip("\n")) :], "\n")


class SpaceExportContract(ExportContract):
    """For a format that another tool searches by; subclass it and read the space back."""

    def read_space(self, text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the constants that a consumer reads, and its ranges and choices, as plain data."""
        raise NotImplementedError

    def check(self, tuned: Tuned) -> None:
        """Fail unless the real consumer would search where the record was found."""
        constants, drawn = self.read_space(export.render(tuned, self.format))
        searched = {key: entry[:3] for key, entry in tuned.space.items() if entry[0] != "fixed"}
        fixed = {key: entry[1] for key, entry in tuned.space.items() if entry[0] == "fixed"}
        _same("space", dict(drawn), searched)
        said = {"optimizer": tuned.optimizer, "steps": tuned.tuned_on["steps"], **fixed}
        _same("constants", {key: constants.get(key) for key in said}, said)

    def test_numbers_of_any_size_are_read_back(self) -> None:
        """Tiny and huge ends of ranges stay floats."""
        for number in (1e-300, 1e-8, 1e-05, 0.1 + 0.2, 1.0, 1e16, 1e22):
            good = self.record()
            self.check(replace(good, space={**good.space, "lr": ["log", number, 8 * number]}))

    def test_a_record_without_a_space_is_refused(self) -> None:
        """Nothing is made up."""
        try:
            export.render(replace(self.record(), space={}), self.format)
        except SpecError:
            return
        raise AssertionError("a record without a space must be refused")


def _plain(value: Any) -> Any:
    """Return sequences as lists: a format may have one kind only."""
    return list(value) if isinstance(value, tuple | list) else value


def _same(what: str, actual: object, expected: object) -> None:
    if repr(actual) != repr(expected):
        raise AssertionError(f"{what} must be {expected!r}, got {actual!r}")
