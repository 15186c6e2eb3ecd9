"""The map in docs/architecture.md is the tree, and imports point up its rows only."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
FOLDERS = ("kernels", "optimizers", "studies", "app")
# The root of autotune/: the package "core", and doors, which anything may be behind.
DOORS = {"__init__", "__main__"}
CORE = {"config", "environment", "errors", "devices", "registry", "seeds"}


def rows(title: str) -> dict[str, list[str]]:
    """Return the table below a title of the page, by its first column."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines[1:]}


MAP = rows("The map")
ALL_ABOVE = "all above"


def allowed(package: str) -> set[str]:
    """Return what a package may import, as the map has it."""
    said, above = MAP[package][1], list(MAP)[: list(MAP).index(package)]
    if said.startswith(ALL_ABOVE):
        return set(above) - set(re.findall(r"\w+", said.removeprefix(ALL_ABOVE)))
    return set(re.findall(r"\w+", said))


def package_of(dotted: str) -> str | None:
    """Return the package of the map that a module is in; None for what is not ours."""
    first, *rest = dotted.split(".")
    if first != "autotune" or not rest:
        return None
    return "core" if rest[0] in CORE else rest[0]


def files() -> list[tuple[str, Path]]:
    """Return every module with the package of the map that it is in."""
    inner = [path for path in (ROOT / "autotune").rglob("*.py") if not linked(path)]
    outer = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = []
    for path in sorted(inner + outer):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[1:] if parts[0] == "autotune" else parts
        if parts[0] not in DOORS:
            found.append(("core" if parts[0] in CORE else parts[0], path))
    return found


def linked(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents)


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the packages of the map that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {package_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "autotune":
            found |= {package_of(f"autotune.{alias.name}") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(package_of(node.module))
    return frozenset(name for name in found if name in MAP)


def test_every_package_has_its_row_and_every_row_its_package():
    assert {package for package, _ in files()} == set(MAP)


def test_the_root_holds_what_is_listed_and_nothing_else():
    there = {path.stem for path in (ROOT / "autotune").glob("*.py")}
    assert there == CORE | DOORS
    assert len(there) <= 9


@pytest.mark.parametrize("package", MAP)
def test_a_row_names_only_rows_above_it(package):
    above = list(MAP)[: list(MAP).index(package)]
    assert allowed(package) <= set(above)


@pytest.mark.parametrize("package", MAP)
def test_a_package_imports_what_its_row_names(package):
    for mine, path in files():
        if mine == package:
            wrong = imported(path) - allowed(package) - {package}
            where = path.relative_to(ROOT)
            assert not wrong, f"{where} must not import {sorted(wrong)}: docs/architecture.md"
