"""Arithmetic on a step and a learning rate that only the device knows, noted to be done there.

The formulas of an optimizer are run once on stand-ins for the two numbers, which note what is done
with them. A formula that does something else with them, as a plugin's may, cannot be noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.kernels.rule import GIVEN, Rule, Tape
from autotune.kernels.rules.schedule_free import SCHEDULE_FREE
from autotune.optimizers import scalars

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

_Place = tuple[str, int]  # 'given', 'constant' or 'result', and its number


class Noted:
    """A number on the device: operations on it are noted."""

    def __init__(self, notes: Notes, place: _Place) -> None:
        self._notes, self.place = notes, place

    def _with(self, name: str, other: Any) -> Noted:
        return self._notes.noted(name, self, other)

    def _after(self, name: str, other: Any) -> Noted:
        return self._notes.noted(name, other, self)

    def __add__(self, other: Any) -> Noted:
        return self._with("add", other)

    def __radd__(self, other: Any) -> Noted:
        return self._after("add", other)

    def __sub__(self, other: Any) -> Noted:
        return self._with("sub", other)

    def __rsub__(self, other: Any) -> Noted:
        return self._after("sub", other)

    def __mul__(self, other: Any) -> Noted:
        return self._with("mul", other)

    def __rmul__(self, other: Any) -> Noted:
        return self._after("mul", other)

    def __truediv__(self, other: Any) -> Noted:
        return self._with("div", other)

    def __rtruediv__(self, other: Any) -> Noted:
        return self._after("div", other)

    def __pow__(self, other: Any) -> Noted:
        return self._with("pow", other)

    def __rpow__(self, other: Any) -> Noted:
        return self._after("pow", other)

    def __gt__(self, other: Any) -> Noted:
        return self._with("greater", other)

    def __eq__(self, other: object) -> bool:
        return bool(self)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("only the device knows whether this is so")

    def sqrt(self) -> Noted:
        """Return the square root."""
        return self._with("sqrt", self)

    def double(self) -> Noted:
        """Return the number itself: all are in double precision."""
        return self


class Notes:
    """What is done with a step and a learning rate."""

    def __init__(self) -> None:
        self.constants: list[float] = []
        self._work: list[tuple[str, _Place, _Place]] = []
        self.step, self.rate = Noted(self, ("given", 0)), Noted(self, ("given", 1))

    def place(self, value: Any) -> _Place:
        """Return where a number is; a constant gets a place."""
        if isinstance(value, Noted):
            return value.place
        self.constants.append(float(value))
        return "constant", len(self.constants) - 1

    def noted(self, name: str, a: Any, b: Any) -> Noted:
        """Note an operation, and return its result."""
        self._work.append((name, self.place(a), self.place(b)))
        return Noted(self, ("result", len(self._work) - 1))

    def tape(self, row: tuple[Any, ...], averaged: bool = False) -> Tape:
        """Return the operations that make a row."""
        columns = [self.place(value) for value in row]
        firsts = {"given": 0, "constant": GIVEN, "result": GIVEN + len(self.constants)}

        def found(place: _Place) -> int:
            return firsts[place[0]] + place[1]

        return Tape(
            constants=len(self.constants),
            work=tuple([(name, found(a), found(b)) for name, a, b in self._work]),
            columns=tuple(map(found, columns)),
            averaged=averaged,
        )


def noted(optimizer: RuleOptimizer, group: Group, rule: Rule) -> tuple[Tape, list[float]] | None:
    """Return the tape of a group's row after its first step, with its constants.

    None if the optimizer's formulas need more of a tensor than arithmetic.
    """
    notes = Notes()
    try:
        plain = {**group, "lr": notes.rate}
        averaged = rule.application is SCHEDULE_FREE
        share = Noted(notes, ("given", 2)) if averaged else None
        row = scalars.row(optimizer, plain, rule, notes.step, 0, notes.rate, share)
        return notes.tape(row, averaged), notes.constants
    except (AttributeError, TypeError):
        return None
