"""The file a person writes: what to search for, with what budget, checked at this edge."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from inspect import isclass
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from autotune.studies import messages, names, spec_space
from autotune.studies.earlier import Earlier
from autotune.studies.errors import SpecError

ASKED = "ask"  # the engine of a search whose trials a caller's own loop trains
_SCRIPT = re.compile(r"[^-{}\s][^{}\s]*\.[A-Za-z]{1,4}")
DEFAULT_RUNS = 20.0  # full runs for each optimizer when a spec sets no limit


def _not_bool(value: Any) -> Any:
    # Pydantic counts True as 1, and YAML reads `yes` as True.
    if isinstance(value, bool):
        raise ValueError("must be a number, got " + str(value).lower())
    return value


def _names(value: Any) -> Any:
    """Return names of optimizers in a list; a class of one is refused by the name it has."""
    values = (value,) if isinstance(value, str) or isclass(value) else value
    given = values if isinstance(values, list | tuple) else ()
    cls = next(filter(isclass, given), None)
    if cls is not None:
        raise ValueError(f"must be names, got a class; write '{_public(cls)}'")
    return values


def _public(cls: type) -> str:
    """Return the shortest dotted name under which a class is imported already."""
    parts = cls.__module__.split(".")
    homes = [".".join(parts[: i + 1]) for i in range(len(parts))]
    known = (home for home in homes if getattr(sys.modules.get(home), cls.__name__, None) is cls)
    return f"{next(known, cls.__module__)}.{cls.__qualname__}"


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"must name each optimizer once, got '{twice}' twice")
    return values


def _worded(value: Any) -> Any:
    # A folder or a search may well be called 2024; what a file's format made of 1.10 is lost.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str | Mapping | Sequence):
        return value
    raise ValueError(f"must be text, got {str(value).lower()}; put it in quotes")


def _words(value: Any) -> Any:
    """Return a command as words: one text is read as a shell reads it."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"must be the words of a command, got '{value}' ({error})") from None
    if isinstance(value, list | tuple) and not value:
        raise ValueError("must not be empty")
    if not isinstance(value, list | tuple):
        return value
    return [os.fspath(word) if isinstance(word, os.PathLike) else _worded(word) for word in value]


def _named(name: str | None) -> str | None:
    return None if name is None else names.check(name)


_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):[0-9]{1,5}")

Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, BeforeValidator(_not_bool)]
Number = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Budget(BaseModel):
    """What a search may spend on each optimizer; the first limit reached ends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: Annotated[Whole, Field(ge=1)] | None = None
    runs: Annotated[Number, Field(gt=0)] | None = None  # in full runs: steps / steps of a full run
    minutes: Annotated[Number, Field(gt=0)] | None = None  # of wall time, all optimizers together
    patience: Annotated[Whole, Field(ge=1)] | None = None  # settings in a row without a new leader

    @property
    def resolved(self) -> Budget:
        """The same budget, with the default limit when none was given."""
        if self.trials is None and self.runs is None and self.minutes is None:
            return Budget(runs=DEFAULT_RUNS, patience=self.patience)
        return self


def _placed(address: str | None) -> str | None:
    if address is None or address == "auto" or _ADDRESS.fullmatch(address):
        return address
    raise ValueError(f"must be auto or HOST:PORT, got '{address}'")


def _shareable(gpus: float | None) -> float | None:
    if gpus is not None and gpus > 1 and gpus != int(gpus):
        raise ValueError(f"must be a part of one GPU or whole ones, got {gpus:g}")
    return gpus


_DEVICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]+)?")


def _device(text: str) -> str:
    if _DEVICE.fullmatch(text):
        return text
    raise ValueError(f"must be auto, cpu, cuda, cuda:<index> or mps, got '{text}'")


def _precision(text: str) -> str:
    if text in names.PRECISIONS:
        return text
    *others, last = names.PRECISIONS
    raise ValueError(f"must be {', '.join(others)} or {last}, got '{text}'")


class Ray(BaseModel):
    """Where the engine of that name runs trials."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[Text | None, AfterValidator(_placed)] = None  # None: one for this search
    gpus_per_trial: Annotated[Annotated[Number, Field(gt=0)] | None, AfterValidator(_shareable)] = (
        None
    )


class SearchSpec(BaseModel):
    """A search: optimizers with equal budgets on one task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Text
    data: Annotated[Text | None, BeforeValidator(_worded)] = None
    optimizers: Annotated[
        tuple[Text, ...],
        BeforeValidator(_names),
        Field(min_length=1),
        AfterValidator(_unique),
    ] = ("adan", "adamw-win2", "adamw")
    name: Annotated[str | None, BeforeValidator(_worded), AfterValidator(_named)] = None
    budget: Budget = Budget()
    seeds: Annotated[Whole, Field(ge=2)] = 3  # fresh seeds a recommendation is judged on
    finalists: Annotated[Whole, Field(ge=1)] = 2  # settings re-run before one is chosen
    seed: Annotated[Whole, Field(ge=0)] = 0
    workers: Annotated[Whole, Field(ge=1)] = 2
    engine: Text = "processes"
    device: Annotated[Text, AfterValidator(_device)] = "auto"
    precision: Annotated[Text, AfterValidator(_precision)] = "auto"
    step_timeout: Annotated[Number, Field(gt=0)] | None = None  # seconds; None: learned
    per_gpu: Annotated[Whole, Field(ge=1)] = 1  # trials at the same time on one GPU
    record_norms: Flag = False  # keep the gradient norms of each step, for refine
    measure_noise: Flag = False  # of gradients, in judging runs
    sampler: Text = "auto"
    pruner: Text = "auto"
    steps: Annotated[Whole, Field(ge=1)] | None = None
    batch_size: Annotated[Whole, Field(ge=1)] | None = None
    image_size: Annotated[Whole, Field(ge=1)] | None = None  # pixels of a side
    space: dict[str, Any] = Field(default_factory=dict)
    try_first: tuple[Earlier, ...] = ()  # settings that are known from elsewhere
    ray: Ray = Ray()
    command: Annotated[tuple[Text, ...] | None, BeforeValidator(_words)] = None  # the model then
    report: Text | None = None  # file that the command writes
    metric: dict[str, Text] = Field(default_factory=dict)  # columns of that file

    @model_validator(mode="before")
    @classmethod
    def _take_command(cls, data: Any) -> Any:
        """Let a command be the model; its runs are one at a time unless it is told otherwise."""
        given = isinstance(data, Mapping) and data.get("command") is not None
        return {"model": names.COMMAND, "workers": 1, **data} if given else data

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return spec_space.check(space, info.data.get("optimizers", ()))

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        names.check(self.search_name)
        return self

    @model_validator(mode="after")
    def _check_command(self) -> Self:
        if self.command is not None and self.model != names.COMMAND:
            raise SpecError(
                f"give a model or a command, got model '{self.model}' and the command "
                f"'{shlex.join(self.command)}'"
            )
        if self.command is None and (self.report or self.metric):
            key = "report" if self.report else "metric"
            raise SpecError(f"{key} is for a command, which is not given; leave {key} out")
        return self

    @model_validator(mode="after")
    def _check_measuring(self) -> Self:
        if self.asked and self.measuring:
            raise SpecError(
                f"{self.measuring} needs trials that autotune trains, but a script's own loop asks "
                "for these and trains them; leave it out"
            )
        return self

    @property
    def measuring(self) -> str | None:
        """A key by which something is measured of gradients; None: nothing is."""
        keys = {"record_norms": self.record_norms, "measure_noise": self.measure_noise}
        return next((key for key, wanted in keys.items() if wanted), None)

    @property
    def asked(self) -> bool:
        """Whether a caller's own loop asks for the trials and trains them."""
        return self.engine == ASKED

    @property
    def search_name(self) -> str:
        """The search's name: the one given, else the model's own."""
        if self.name is not None:
            return self.name
        if self.command is not None:
            return _script(self.command)
        file, colon, function = self.model.rpartition(":")
        dotted = all(map(str.isidentifier, [*file.split("."), function]))
        if colon and (file.endswith(".py") or dotted):
            return function
        return self.model.rpartition("/")[2]


def _script(command: Sequence[str]) -> str:
    """Return the name of the script that a command runs, without its ending."""
    found = [word for word in command if _SCRIPT.fullmatch(word)]
    name = (found or [command[0]])[0].rpartition("/")[2]
    return name.partition(".")[0] or names.COMMAND


def limits(runs: float | None, minutes: float | None) -> Budget:
    """Return the budget of a stage after the search; raises SpecError."""
    try:
        return Budget.model_validate({"runs": runs, "minutes": minutes})
    except ValidationError as error:
        raise SpecError(messages.translate(error, Budget)) from None


def parse(data: Mapping[str, Any]) -> SearchSpec:
    """Return the spec that ``data`` says; raises SpecError."""
    try:
        return SearchSpec.model_validate(dict(data))
    except ValidationError as error:
        raise SpecError(messages.translate(error, SearchSpec)) from None


# What may change from one run of a search to the next: how much, where and what is kept besides,
# never what is compared. The kind of device and the precision are facts of the task, which may not;
# a device's index may.
_FREE = {
    "name", "budget", "workers", "engine", "device", "precision", "step_timeout", "per_gpu", "ray",
    "finalists", "seeds", "record_norms", "measure_noise",
}  # fmt: skip


def identity(spec: SearchSpec) -> dict[str, Any]:
    """Return what has to agree for a search to be continued, as plain data."""
    facts = spec.model_dump(mode="json", exclude=_FREE)
    return {**facts, "optimizers": sorted(spec.optimizers)}


def differences(one: SearchSpec, other: SearchSpec) -> list[str]:
    """Return the dotted keys of the identity in which two specs differ."""
    return _differing(identity(one), identity(other))


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> list[str]:
    found: list[str] = []
    for key in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(key), other.get(key)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            found += _differing(mine, theirs, f"{path}{key}.")
        elif mine != theirs:
            found.append(path + key)
    return found
