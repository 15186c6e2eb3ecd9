"""What a Python file does, as a hash: comments, docstrings and layout aside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def meaning(source: bytes) -> str:
    """Return a hash that two files share when they differ in words for people alone."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return sha256(source).hexdigest()  # what is wrong with it is said where it is imported
    text = "\n".join(_parts(tree))
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _parts(tree: ast.Module) -> Iterator[str]:
    """Spell a tree out, without recursion: a long sum is a deep tree."""
    left: list[Any] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.AST):
            yield type(node).__name__
            left += reversed([part for name in node._fields for part in _field(node, name)])
        else:
            yield repr(node)


def _field(node: ast.AST, name: str) -> list[Any]:
    """Return a field's name and content; none when empty, for versions of Python add such ones."""
    value = getattr(node, name, None)
    content = value if isinstance(value, list) else [] if value is None else [value]
    if name == "body" and isinstance(node, _DOCUMENTED) and ast.get_docstring(node, False):
        content = content[1:]
    return [name, len(content), *content] if content else []
