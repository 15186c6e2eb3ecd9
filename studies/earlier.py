"""Settings that are known from elsewhere, as a spec holds them and as files say them."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from autotune.studies import files
from autotune.studies.errors import SpecError
from autotune.studies.names import plain

if TYPE_CHECKING:
    from autotune.studies.records import StudyRecord

KEY = "try_first"  # of a spec
IMPORTED = "imported: "  # begins the origin of a trial of such a setting
WRITTEN = "what autotune import or autotune export --top N --as json wrote"


class Earlier(BaseModel):
    """A setting that is known from elsewhere.

    What was measured there is told to people only: it never meets a loss of the search.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: Annotated[str, Field(min_length=1)]
    hyper: dict[str, Any]  # keyword arguments of the optimizer; the others keep its defaults
    warmup: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = None  # a fraction
    origin: Annotated[str, Field(min_length=1, max_length=200)] = "a file"
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None  # measured there

    @field_validator("hyper")
    @classmethod
    def _check_finite(cls, hyper: dict[str, Any]) -> dict[str, Any]:
        for name, value in hyper.items():
            for part in value if isinstance(value, list | tuple) else (value,):
                if isinstance(part, float) and not math.isfinite(part):
                    raise SpecError(f"{KEY}: {name} must be finite, got {part}")
        return hyper

    @field_validator("origin")
    @classmethod
    def _check_printable(cls, origin: str) -> str:
        return plain(origin)


def settings(given: str | os.PathLike[str] | Sequence[Any]) -> Sequence[Any]:
    """Return settings as a spec takes them: a list as it is, a path as what the file says."""
    if isinstance(given, str | os.PathLike):
        return read(Path(given))
    return given


def read(path: Path) -> list[dict[str, Any]]:
    """Return the settings of a file, their values unchecked; raises SpecError."""
    data = files.load(path)
    if not isinstance(data, dict):
        raise SpecError(f"{path} holds something else than settings; give {WRITTEN}")
    found = data.get("settings", [data] if "hyper" in data else None)
    if not isinstance(found, list) or not found:
        raise SpecError(f"{path} holds no settings; give {WRITTEN}")
    try:
        return [_entry(one) for one in found]
    except (KeyError, TypeError, AttributeError):
        raise SpecError(f"{path} holds something else than settings; give {WRITTEN}") from None


def _entry(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of a spec for one of a file, which may be a whole record of a search."""
    if "provenance" not in one:
        return {key: one[key] for key in Earlier.model_fields if key in one}
    come = one["provenance"]
    if one["schedule"].get("table"):
        raise SpecError(
            f"{KEY}: the setting of search {come['search']} has a refined schedule, and a search "
            "trains by warm-up and cosine; export it with --schedule original"
        )
    return {
        "optimizer": one["optimizer"],
        "hyper": dict(one["hyper"]),
        "warmup": one["schedule"]["warmup_fraction"],
        "origin": f"search {come['search']}, {come['origin']}",
        "value": one["evidence"]["loss"]["mean"],
    }


def unequal(spec: Mapping[str, Any]) -> str:
    """Say that optimizers of a search began with unequal knowledge; empty where they did not.

    Args:
        spec: As it is stored.
    """
    counts = Counter(one["optimizer"] for one in spec.get(KEY) or ())
    known = {name: counts[name] for name in spec.get("optimizers", ())}
    if len(set(known.values())) < 2:
        return ""
    each = ", ".join(f"{name} {count or 'none'}" for name, count in known.items())
    return (
        f"settings known from elsewhere were tried first: {each}; the budgets are equal, what was "
        "known before is not, so optimizers may differ for that alone"
    )


def added(studies: Iterable[StudyRecord]) -> str:
    """Say of how many trials that were measured elsewhere samplers know; empty where of none."""
    counts = {study.optimizer: study.added for study in studies}
    if not any(counts.values()):
        return ""
    each = ", ".join(f"{name} {count or 'none'}" for name, count in counts.items())
    text = f"samplers know of trials that were measured elsewhere, and none of them counts: {each}"
    if len(set(counts.values())) == 1:
        return text
    return f"{text}; so optimizers may differ for what was known alone"
