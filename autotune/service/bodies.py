"""What requests hold: the words of the service, as pydantic models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from autotune import optimizers, registry
from autotune.search.adding import ELSEWHERE
from autotune.search.telling import Told
from autotune.studies.earlier import Earlier
from autotune.studies.names import plain
from autotune.studies.records import Command
from autotune.studies.tokens import LONGEST_DAYS, Scope

POINTS = 10_000  # measurements in one call
LEASES = 64  # trials in one call
LARGEST = 2**31 - 1  # what an integer column holds

_CODE = re.compile(r".+\.py(:.*)?")


def _label(text: str) -> str:
    if _CODE.fullmatch(text):
        raise ValueError(
            f"must be a label, got '{text}': a model is code and is never taken over HTTP; the "
            "worker builds the model, or autotune search trains it where its file is"
        )
    return text


def _number(value: Any) -> Any:
    # Pydantic counts True as 1.
    if isinstance(value, bool):
        raise ValueError(f"must be a number, got {str(value).lower()}")
    return value


def _listed(names: Iterable[str]) -> Callable[[dict[str, Any]], None]:
    """Return what adds the names that are known here to a text's schema."""

    def add(schema: dict[str, Any]) -> None:
        schema.get("items", schema)["enum"] = sorted(names)

    return add


def _one_of(schema: dict[str, Any]) -> None:
    """Say in a body's schema that it has exactly one of its keys, which is not null."""
    for one in schema["properties"].values():
        (kind,) = (kind for kind in one.pop("anyOf") if kind.get("type") != "null")
        del one["default"]
        one.update(kind)
    schema |= {"minProperties": 1, "maxProperties": 1}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ValueError(f"must be finite, got {value}")
    return value


def _finite_loss(value: Any) -> Any:
    try:
        return _finite(value)
    except ValueError as error:
        raise ValueError(f"{error}; end the lease with the outcome 'diverged' instead") from None


def _few(value: Any) -> Any:
    if isinstance(value, list) and len(value) > POINTS:
        raise ValueError(
            f"must be at most {POINTS} in one call, got {len(value)}; tell the rest in the next"
        )
    return value


# The bounds come before the check for booleans: so they are part of the schema.
Count = Annotated[int, Field(ge=1, le=LARGEST), BeforeValidator(_number)]
Step = Annotated[int, Field(ge=0, le=LARGEST), BeforeValidator(_number)]
Taken = Annotated[int, Field(ge=1, le=LARGEST), BeforeValidator(_number)]
Seeds = Annotated[int, Field(ge=2, le=LARGEST), BeforeValidator(_number)]
Above = Annotated[
    float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_number), BeforeValidator(_finite)
]
Loss = Annotated[
    float, Field(allow_inf_nan=False), BeforeValidator(_number), BeforeValidator(_finite_loss)
]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
Seconds = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(_number),
    BeforeValidator(_finite),
]
Label = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
    AfterValidator(_label),
]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.:@+-]+$")]
Word = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.][A-Za-z0-9_.:@+-]*$")
]
Days = Annotated[
    float,
    Field(gt=0, le=LONGEST_DAYS, allow_inf_nan=False),
    BeforeValidator(_number),
]
Request = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
Uri = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[\x21-\x7e]+$")]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Reason = Annotated[str, Field(max_length=2000), AfterValidator(plain)]


class Body(BaseModel):
    """What a client sends: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class External(Body):
    """A task that the service does not know: its workers train it."""

    model: Label = Field(description="What the model is called.", examples=["vit-s16"])
    steps: Count = Field(description="Optimizer steps of a full run.", examples=[900])
    data: Label | None = Field(default=None, description="What identifies the data.")
    batch_size: Count | None = Field(default=None, description="Samples of an optimizer step.")


class Registered(Body):
    """A task that is installed with the service and with its workers."""

    model: Label = Field(
        description="Its name, as `autotune list models` has it.",
        examples=["mlp"],
        json_schema_extra=_listed(registry.names("autotune.tasks")),
    )
    steps: Count | None = Field(default=None, description="Optimizer steps of a full run.")
    batch_size: Count | None = Field(default=None, description="Samples of an optimizer step.")


class Task(Body):
    """What is tuned: one of the two."""

    model_config = ConfigDict(json_schema_extra=_one_of)

    external: External | None = None
    registered: Registered | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.external is None) == (self.registered is None):
            raise ValueError(
                "must have one of external (its workers' own loops train it) and registered "
                "(autotune worker trains it)"
            )
        return self


class BudgetBody(Body):
    """What a search may spend on each optimizer; the first limit reached ends it."""

    trials: Count | None = Field(default=None, description="Settings to try.")
    runs: Above | None = Field(
        default=None, description="Full runs; one stopped halfway counts 0.5."
    )
    minutes: Above | None = Field(default=None, description="Wall time of all optimizers together.")
    patience: Count | None = Field(
        default=None, description="Settings in a row without a new leader."
    )


class SearchBody(Body):
    """A search to begin: optimizers with equal budgets on one task."""

    task: Task
    optimizers: list[str] = Field(
        ["adan", "adamw-win2", "adamw"],
        min_length=1,
        description="Names; or dotted ones of other packages, which the server must be told of.",
        json_schema_extra=_listed(optimizers.names()),
    )
    budget: BudgetBody = BudgetBody()
    seeds: Seeds = Field(default=3, description="Fresh seeds on which a recommendation is judged.")
    finalists: Count = Field(default=2, description="Settings re-run before one is chosen.")
    seed: Step = Field(default=0, description="Where all random choices begin.")
    sampler: str = Field(
        default="auto", json_schema_extra=_listed(registry.names("autotune.samplers"))
    )
    pruner: str = Field(
        default="auto", json_schema_extra=_listed(registry.names("autotune.pruners"))
    )
    space: dict[str, Any] = Field(
        default_factory=dict,
        description="What to fix, narrow or choose, by parameter.",
        examples=[{"lr": {"high": 0.01}}],
    )
    try_first: list[Earlier] = Field(
        default_factory=list,
        max_length=LEASES,
        description="Settings that are known from elsewhere, as `autotune import` writes them.",
    )


class Change(Body):
    """What changes of a search: a command to its workers, or how much is spent."""

    command: Command | None = None
    budget: BudgetBody | None = None
    seeds: Seeds | None = None
    finalists: Count | None = None


class Ask(Body):
    """Who asks for trials."""

    worker: Name = Field(
        description="Name of the worker, its own: what it held before it gets again.",
        examples=["gpu7-0"],
    )
    request: Request | None = Field(
        default=None, description="The same for each repetition of this call, another for the next."
    )
    count: Annotated[int, BeforeValidator(_number)] = Field(
        1, ge=1, le=LEASES, description="Trials that the worker can train at the same time."
    )
    can_pause: Literal["none", "memory", "checkpoint"] = Field(
        "none",
        description="Whether the worker can go on with a trial in a later lease. 'none': `stop_at` "
        "is the last step, and the answers to losses say `continue` or, for good, `stop`. "
        "'memory': as no state is kept, a trial that goes on after a rung begins at step 0 again.",
    )
    facts: dict[str, Any] | None = Field(
        default=None,
        description="Of a worker that trains the search's own task, as `autotune worker` does: "
        "facts of the task as that worker has it, which have to be those of the search.",
    )


class PointBody(Body):
    """One measurement, after ``step`` steps."""

    step: Taken
    loss: Loss | None = Field(default=None, description="On validation data.")
    train_loss: Loss | None = None
    accuracy: Loss | None = None
    seconds: Seconds | None = Field(
        default=None, description="Of training in this lease; the server's clock without it."
    )


class GradientBody(Body):
    """What was measured of the gradient of one step, before the optimizer changed it."""

    step: Taken
    l1: Number | None = Field(default=None, description="L1 norm over all parameters.")
    l2: Number | None = Field(default=None, description="L2 norm, likewise.")
    variance: Number | None = Field(
        default=None, description="Of single samples' gradients, summed over all parameters."
    )
    square: Number | None = Field(default=None, description="Squared norm of their mean.")


class StateBody(Body):
    """Where the worker keeps the trial's state: opaque to the service."""

    uri: Uri
    step: Taken
    sha256: Sha | None = None


class Points(Body):
    """Measurements of a trial, in the order of their steps."""

    points: Annotated[list[PointBody], Field(max_length=POINTS), BeforeValidator(_few)] = []
    gradients: Annotated[
        list[GradientBody],
        Field(
            max_length=POINTS,
            description="Where the lease asked for `norms` or `noise`: the steps since the last "
            "call, in their order. Those between the first and the last replace what was there.",
        ),
        BeforeValidator(_few),
    ] = []
    state: StateBody | Literal["missing"] | None = Field(
        default=None,
        description="The trial's state after a step; 'missing': it cannot be read any more.",
    )


class EndBody(Body):
    """How a lease ends."""

    outcome: Told
    step: Step | None = Field(
        default=None, description="Steps taken; the last one measured without it."
    )
    reason: Reason | None = None


class Void(Body):
    """That nothing which was measured of a trial counts."""

    reason: Annotated[Reason, Field(min_length=1)] = Field(
        description="Why.", examples=["its GPU was broken"]
    )
    again: bool = Field(
        default=False, strict=True, description="Run it again; else it is over for good."
    )


class AddBody(Body):
    """A trial that was measured elsewhere, on the search's own task and schedule."""

    hyper: dict[str, Any] = Field(
        description="Keyword arguments of the optimizer, in the search's space; the others had its "
        "defaults.",
        examples=[{"lr": 0.002}],
    )
    warmup: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = Field(
        default=None, description="Fraction of the steps spent warming up; 0.1 without it."
    )
    points: Annotated[
        list[PointBody], Field(min_length=1, max_length=POINTS), BeforeValidator(_few)
    ] = Field(
        description="Losses by step of a run with the steps and the schedule of the search's "
        "trials; the last alone is enough. A run that ended earlier needs one at a step where "
        "trials are compared.",
        examples=[[{"step": 9, "loss": 1.61}]],
    )
    diverged: bool = Field(
        default=False,
        strict=True,
        validate_default=True,
        description="Whether the loss was not finite at the last point, which has none then.",
    )
    origin: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(plain)] = Field(
        default=ELSEWHERE, description="Where it is from.", examples=["the grid of last week"]
    )

    @field_validator("diverged")
    @classmethod
    def _check_end(cls, diverged: bool, info: ValidationInfo) -> bool:
        points = info.data.get("points")
        if points and diverged != (points[-1].loss is None):
            raise ValueError(
                "must be false where the last point has a loss: where it diverged it has none"
                if diverged
                else "must be true where the last point has no loss"
            )
        return diverged


class TokenBody(Body):
    """A token to make."""

    name: Word = Field(description="What to call it.", examples=["gpus"])
    scope: Scope = Scope.WORK
    search: Word | None = Field(default=None, description="The only search that it is for.")
    days: Days | None = Field(default=None, description="After which it expires.")
