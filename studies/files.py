"""A YAML or JSON file as a mapping, and what is wrong with it as one sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from autotune.studies.errors import SpecError
from autotune.studies.names import TEXTS


def read(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a file, its values unchecked; raises SpecError."""
    data = load(path)
    if not isinstance(data, dict):
        raise SpecError(f"{path}: a spec must be a mapping such as 'model: resnet50', got {data!r}")
    return data


def load(path: str | Path) -> Any:
    """Return what a file holds, whatever it is; raises SpecError."""
    return _decode(Path(path), _text(Path(path)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SpecError(f"no spec file at {path}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: a spec must be UTF-8 text") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None


def _decode(path: Path, text: str) -> Any:
    try:
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_once)
        return yaml.load(text, _OnceLoader)
    except json.JSONDecodeError as error:
        raise SpecError(f"{path}: line {error.lineno} is not JSON: {error.msg}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{path}: line {line} is not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Build a mapping, but let no second value of a key replace the first unseen."""
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"'{twice}' is given twice")
    return dict(pairs)


class _OnceLoader(yaml.SafeLoader):
    """YAML without objects, whose mappings name each key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that comes again, where PyYAML would take the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"'{key.value}' is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(_worded(node), deep)


def _worded(node: yaml.MappingNode) -> yaml.MappingNode:
    """Take the words after keys of text as they are written: YAML reads 007 as 7, 1.10 as 1.1."""
    for key, value in node.value:
        words = isinstance(value, yaml.ScalarNode) and value.tag != "tag:yaml.org,2002:null"
        if words and isinstance(key, yaml.ScalarNode) and key.value in TEXTS:
            value.tag = "tag:yaml.org,2002:str"
    return node
