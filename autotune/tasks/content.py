"""What a user's file and the modules beside it do, as hashes: the identity of what is trained."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import invalidate_caches
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

from autotune.tasks.source import meaning

OURS = "autotune"  # never a module of the user's, even where the user's file lies beside it
MODULE = "module "  # begins the names of facts about modules beside the file
_IMPORTERS = frozenset({"import_module", "__import__"})


def beside(path: Path, source: bytes) -> dict[str, str]:
    """Return the modules that a file imports from its own folder, and they from it, by hash.

    They are found in the text, whether or not an import was reached; names that are put together
    while the file runs are not seen. Names are paths within the folder.
    """
    folder, found = path.parent, dict[Path, str]()
    left = [(path, source)]
    while left:
        file, text = left.pop()
        for module in _named(folder, file, text):
            if module not in found and module != path:
                content = _read(module)
                found[module] = meaning_of(content)
                left.append((module, content))
    return {str(each.relative_to(folder)): found[each] for each in sorted(found)}


@lru_cache(maxsize=512)
def meaning_of(source: bytes) -> str:
    """Return the hash of what a file does; remembered, as it is asked for before each job."""
    return meaning(source)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _named(folder: Path, file: Path, source: bytes) -> list[Path]:
    package = file.parent.relative_to(folder).parts
    found = [each for name in _imports(source, package) for each in _files(folder, name)]
    return list(dict.fromkeys(found))


@lru_cache(maxsize=512)
def _imports(source: bytes, package: tuple[str, ...]) -> tuple[str, ...]:
    """Return the full names of the modules that may be imported."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ()  # said where it is imported
    return tuple(name for node in ast.walk(tree) for name in _of(node, package))


def _of(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        up = package[: len(package) - node.level + 1] if node.level else ()
        base = [*up, *([node.module] if node.module else [])]
        yield from (".".join([*base, alias.name]) for alias in node.names)
    elif isinstance(node, ast.Call) and _name(node.func) in _IMPORTERS:
        yield from (str(each.value) for each in node.args[:1] if isinstance(each, ast.Constant))


def _name(node: Any) -> str:
    return str(getattr(node, "id", getattr(node, "attr", "")))


def _files(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of a module and of the packages it is in."""
    parts = name.split(".")
    if parts[0] == OURS:
        return
    place = folder
    for part in parts:
        place = place / part
        for file in (place / "__init__.py", place.with_name(f"{part}.py")):
            if part.isidentifier() and file.is_file():
                yield file
                break


class _Sources(MetaPathFinder):
    """Imports some files from their text: a cache that looks as old as the text may be older."""

    def __init__(self) -> None:
        self.files: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return where a module is, if it is one of the files."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin not in self.files:
            return None
        spec.loader = _Uncached(name, spec.origin)
        spec.cached = None
        return spec


class _Uncached(SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)


_sources = _Sources()
_imported: dict[str, str] = {}  # file -> hash of what it did when it was imported here
_hidden: dict[str, Any] = {}  # libraries whose names modules beside a file have, by name


def hiding() -> dict[str, Any]:
    """Return the modules that now go by the name of a library; None for one not yet imported."""
    found = {name: sys.modules.get(name) for name in _hidden}
    return {name: module for name, module in found.items() if module is not _hidden[name]}


def show(modules: Mapping[str, Any]) -> None:
    """Let these modules go by their names, and the libraries by all other names."""
    for name, module in {**_hidden, **modules}.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module


def hide(folder: Path, modules: Mapping[str, str]) -> None:
    """Note which libraries a file's modules hide, as Python's ``copy``: from its own code only."""
    for path in modules:
        library = sys.modules.get(_dotted(path))
        file = getattr(library, "__file__", None)
        if file is not None and file != str(folder / path) and file not in _sources.files:
            _hidden[_dotted(path)] = library


def import_anew(folder: Path, modules: Mapping[str, str]) -> None:
    """Let a file's modules be imported from their text, now and whenever its code imports one.

    All that were imported before are forgotten if one is from elsewhere or was edited since, as
    they use each other.
    """
    files = {str(folder / path): content for path, content in modules.items()}
    known = {_dotted(path): str(folder / path) for path in modules}
    loaded = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    elsewhere = [name for name, file in known.items() if loaded.get(name, file) != file]
    if elsewhere or any(_imported.get(file, content) != content for file, content in files.items()):
        for name in {*elsewhere, *(name for name, file in loaded.items() if file in files)}:
            del sys.modules[name]
    _imported.update(files)
    _sources.files.update(files)
    if files and _sources not in sys.meta_path:
        sys.meta_path.insert(0, _sources)
    invalidate_caches()


def _dotted(path: str) -> str:
    return ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")


def differing(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return the names of files that are not what is expected."""
    return [name for name, content in expected.items() if found.get(name) != content]
