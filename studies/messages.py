"""Pydantic's errors as one sentence for a person: the dotted path, the rule and the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from autotune.studies import names
from autotune.studies.errors import SpecError

LONGEST = 200  # characters of a value that a sentence holds

_RULES = {
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} items",
    "finite_number": "must be finite",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
}


def translate(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem as a sentence, and how many more there are."""
    problems = error.errors(include_url=False)
    # A misspelt key explains why the right one is missing.
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    more = len(problems) - 1
    return sentence(problems[0], model) + (f" (and {more} more)" if more else "")


def sentence(problem: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """Return one problem as a sentence; neighbours of an unknown key are those of the model."""
    path = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "missing":
        return f"{path} must be given"
    if kind == "extra_forbidden":
        return f"unknown key '{path}'" + (_hint(problem["loc"], model) if model else "")
    if kind == "value_error":
        own = context["error"]
        return str(own) if isinstance(own, SpecError) else f"{path} {own}"
    rule = _RULES.get(kind)
    if rule is None:
        said = f"{problem['msg'][:1].lower()}{problem['msg'][1:]}"
        return f"{path}: {said}, got {_short(repr(problem['input']))}"
    return f"{path} {rule.format(**context)}, got {_shown(problem['input'])}"


def _hint(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Suggest a neighbour of an unknown key, found by walking down the models."""
    fields = model.model_fields
    for part in location[:-1]:
        if isinstance(part, str):  # a number is a place in a list of models
            fields = _model(fields[part].annotation).model_fields
    return names.suggestion(str(location[-1]), fields) or " " + names.listing(fields)


def _model(annotation: Any) -> Any:
    """Return the model of a key, or of the items of its list."""
    items = get_args(annotation)
    return items[0] if items else annotation


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "a mapping" if isinstance(value, Mapping) else _short(repr(value))


def _short(text: str) -> str:
    """Return the beginning of a text of which a sentence cannot hold all."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
