"""Merge the sources of a search's spec, in a fixed order of precedence.

Later wins: defaults, the user's file, the project's file, each ``-c FILE``, ``--space FILE``, the
environment, each ``--set``, named flags. A resumed search starts from what is stored instead.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from autotune import registry
from autotune.errors import SpecError, UnknownName
from autotune.studies import earlier, files
from autotune.studies import spec as specs
from autotune.studies.names import TEXTS
from autotune.studies.spec import SearchSpec

DEFAULT = "default"
PREFIX = "AUTOTUNE_"
# Not keys of a spec: the database, tracebacks, hosts that may reach a server, what it imports.
RESERVED = frozenset(
    {"AUTOTUNE_STORAGE", "AUTOTUNE_DEBUG", "AUTOTUNE_ALLOWED_HOSTS", "AUTOTUNE_LEASE"}
    | {"AUTOTUNE_ALLOWED_OPTIMIZERS"}
    | {"AUTOTUNE_REPORT", "AUTOTUNE_TRIAL", "AUTOTUNE_SETTING", "AUTOTUNE_GIVEN"}  # of a command
    | {"AUTOTUNE_TOKEN", "AUTOTUNE_TEST_POSTGRES"}
)

# Named flags, and the keys they set.
FLAGS = {
    "model": "model",
    "command": "command",
    "report": "report",
    "metric": "metric",
    "data": "data",
    "optimizer": "optimizers",
    "controller": "space.controller",
    "trials": "budget.trials",
    "runs": "budget.runs",
    "minutes": "budget.minutes",
    "patience": "budget.patience",
    "seeds": "seeds",
    "steps": "steps",
    "batch_size": "batch_size",
    "image_size": "image_size",
    "workers": "workers",
    "engine": "engine",
    "device": "device",
    "precision": "precision",
    "step_timeout": "step_timeout",
    "per_gpu": "per_gpu",
    "ray_address": "ray.address",
    "gpus_per_trial": "ray.gpus_per_trial",
    "record_norms": "record_norms",
    "measure_noise": "measure_noise",
    "sampler": "sampler",
    "pruner": "pruner",
    "seed": "seed",
    "search": "name",
}
RESUMABLE = (
    "trials",
    "runs",
    "minutes",
    "patience",
    "seeds",
    "workers",
    "engine",
    "device",
    "precision",
    "step_timeout",
    "per_gpu",
    "ray_address",
    "gpus_per_trial",
    "record_norms",
    "measure_noise",
)  # may change when a search is resumed

Layer = tuple[str, Mapping[str, Any]]  # where it comes from, and nested values


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was given on the command line."""

    flags: Mapping[str, Any] = field(default_factory=dict)  # by name in FLAGS; None is not given
    files: Sequence[Path] = ()
    space: Path | None = None
    try_first: Path | None = None
    assignments: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A spec, and where each of its values comes from by dotted key."""

    spec: SearchSpec
    sources: Mapping[str, str]


def resolve(
    request: Request,
    *,
    environment: Mapping[str, str] = os.environ,
    directory: Path | None = None,
    stored: Layer | None = None,
) -> Resolved:
    """Return the spec that all sources together say; raises SpecError naming the source.

    Args:
        request: what was given on the command line.
        environment: variables to read ``AUTOTUNE_*`` from.
        directory: folder of the project, the working directory when left out.
        stored: the spec of a search to resume; flags alone are put over it.
    """
    if stored:
        layers = [stored, *_resuming(request)]
    else:
        layers = list(_layers(request, environment, directory or Path()))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        _merge(values, layer)
        for path, _ in _leaves(layer):
            sources[path] = source
    spec = _parse(values, sources)
    check_names(spec)
    _check_engine(request, spec)
    leaves = _leaves(spec.model_dump(mode="json"))
    return Resolved(spec=spec, sources={path: sources.get(path, DEFAULT) for path, _ in leaves})


def check_names(spec: SearchSpec) -> None:
    """Refuse an unregistered name, before anything is built."""
    refuse_asked(spec)
    check_policies(spec)
    registry.check("autotune.engines", spec.engine)
    models = registry.names("autotune.tasks")
    if spec.command is None and ":" not in spec.model and spec.model not in models:
        raise UnknownName(registry.unknown("model", spec.model, models) + OWN_MODEL)


def check_policies(spec: SearchSpec) -> None:
    """Refuse an optimizer, sampler or pruner that is not known."""
    for name in spec.optimizers:
        registry.check_optimizer(name)
    registry.check_different(spec.optimizers)
    registry.check("autotune.samplers", spec.sampler)
    registry.check("autotune.pruners", spec.pruner)


def refuse_asked(spec: SearchSpec) -> None:
    """Refuse a search whose trials only the script that asks for them can train."""
    if spec.asked:
        raise SpecError(
            f"search '{spec.search_name}' is asked for by a script, which trains its trials "
            "(autotune.Tuner): run that script again to go on with it"
        )


def _check_engine(request: Request, spec: SearchSpec) -> None:
    """Refuse an option of another engine than the chosen one."""
    given = [name for name in _given(request) if FLAGS[name].startswith("ray.")]
    if given and spec.engine != "ray":
        raise SpecError(
            f"--{given[0].replace('_', '-')} is for engine 'ray', got engine '{spec.engine}'; "
            "add --engine ray or leave it out"
        )


OWN_MODEL = "; your own is given as file.py:function, or as a command behind --"


def flat(resolved: Resolved) -> dict[str, tuple[Any, str]]:
    """Return each value of a spec with its source, by dotted key."""
    leaves = _leaves(resolved.spec.model_dump(mode="json"))
    return {path: (value, resolved.sources[path]) for path, value in leaves}


def _layers(request: Request, environment: Mapping[str, str], directory: Path) -> Iterator[Layer]:
    home = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    yield from _file(home / "autotune" / "config.toml")
    yield from _project(directory)
    for path in request.files:
        yield str(path), _read(path)
    if request.space is not None:
        yield str(request.space), {"space": _read(request.space)}
    if request.try_first is not None:
        yield str(request.try_first), {earlier.KEY: earlier.read(request.try_first)}
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in RESERVED:
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            yield name, _nested(key, _value(key, text))
    yield from map(_assignment, request.assignments)
    yield from _flags(request)


def _resuming(request: Request) -> Iterator[Layer]:
    given = [f"--{name.replace('_', '-')}" for name in _given(request) if name not in RESUMABLE]
    given += ["-c"] * bool(request.files) + ["--space"] * (request.space is not None)
    given += ["--try-first"] * (request.try_first is not None)
    given += ["--set"] * bool(request.assignments)
    if given:
        allowed = ", ".join(f"--{name.replace('_', '-')}" for name in RESUMABLE)
        raise SpecError(
            f"--resume takes the stored spec: only {allowed} may change, got {given[0]}"
        )
    yield from _flags(request)


def _given(request: Request) -> dict[str, Any]:
    return {name: value for name, value in request.flags.items() if value not in (None, (), {})}


def _flags(request: Request) -> Iterator[Layer]:
    for name, value in _given(request).items():
        yield f"--{name.replace('_', '-')}", _nested(FLAGS[name], value)


def _file(path: Path) -> Iterator[Layer]:
    if path.is_file():
        yield str(path), _toml(path)


def _project(directory: Path) -> Iterator[Layer]:
    """Read the project's own file, else its part of pyproject.toml."""
    own, shared = directory / "autotune.toml", directory / "pyproject.toml"
    if own.is_file():
        yield from _file(own)
    elif shared.is_file():
        table = _toml(shared).get("tool", {}).get("autotune")
        if table is not None:
            yield f"{shared} [tool.autotune]", table


def _read(path: Path) -> Mapping[str, Any]:
    return _toml(path) if path.suffix == ".toml" else files.read(path)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: this is not TOML: {error}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: a spec must be UTF-8 text") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None


def _assignment(text: str) -> Layer:
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise SpecError(f"--set must be dotted.key=value, got '{text}'")
    return f"--set {key}", _nested(key, _value(key, value))


def _value(key: str, text: str) -> Any:
    """Read a value as YAML would; several optimizers may be separated by commas."""
    if key == "optimizers":
        return tuple(part.strip() for part in text.strip("[] ").split(","))
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    plain = value is None or isinstance(value, str | list | dict)
    return value if plain or key.rpartition(".")[2] not in TEXTS else text.strip()


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            below = into.get(key)
            into[key] = dict(below) if isinstance(below, Mapping) else {}
            _merge(into[key], value)
        else:
            into[key] = value


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _parse(values: Mapping[str, Any], sources: Mapping[str, str]) -> SearchSpec:
    try:
        return specs.parse(values)
    except SpecError as error:
        source = _blamed(str(error), sources)
        raise SpecError(f"{source}: {error}" if source else str(error)) from None


def _blamed(problem: str, sources: Mapping[str, str]) -> str | None:
    """Return the source of the key that an error names, or of the last key below it."""
    for word in re.findall(r"[\w.-]*[\w-]", problem):
        if word in sources:
            return sources[word]
        below = [source for path, source in sources.items() if path.startswith(f"{word}.")]
        if below:
            return below[-1]
    return None


def allowed_hosts(host: str) -> list[str]:
    """Return the hosts that a server may be asked for; AUTOTUNE_ALLOWED_HOSTS adds some, by comma.

    Args:
        host: The one that it listens on.

    Raises:
        SpecError: The variable holds something else.
    """
    added = os.environ.get("AUTOTUNE_ALLOWED_HOSTS", "").split(",")
    return sorted({host, "localhost", "127.0.0.1", *map(_host, added)} - {""})


def _host(given: str) -> str:
    """Return the name in what may be an address with its scheme and port."""
    text = given.strip()
    if text.count(":") > 1 and "[" not in text and "/" not in text:
        return text  # of IPv6
    try:
        return urlsplit(text if "//" in text else f"//{text}").hostname or ""
    except ValueError as error:
        raise SpecError(
            f"AUTOTUNE_ALLOWED_HOSTS must list hosts by comma, as lab.example, got '{text}'"
        ) from error


def is_allowed(address: str, hosts: Collection[str]) -> bool:
    """Tell whether the host of an address is one of these.

    Args:
        address: With two slashes before its host, as in ``//lab.example:8400``.
        hosts: Names; ``*.lab.example`` is all below that one, ``*`` is any.
    """
    try:
        name = (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return False
    return bool(name) and any(_matches(name, host.lower().rstrip(".")) for host in hosts)


def _matches(name: str, host: str) -> bool:
    return host in ("*", name) or (host.startswith("*.") and name.endswith(host[1:]))
