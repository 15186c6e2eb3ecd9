"""The wheel holds every file of the package and nothing but ``autotune``; imports point one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from shutil import copyfile

import pytest

from autotune.transfer.base import Rule

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
ENTRIES = [
    (group, entry)
    for group, entries in PYPROJECT["project"]["entry-points"].items()
    for entry in entries
]
FOLDERS = {folder: package for package, folder in SETUPTOOLS["package-dir"].items()}
LINKED = sorted(set(FOLDERS) - {"autotune"})
MAY_IMPORT = {
    "kernels": set(),
    "studies": set(),
    "optimizers": {"kernels"},
    "autotune": {"kernels", "optimizers", "studies"},
    "app": {"autotune", "optimizers", "studies"},
}
NEVER = {
    "kernels": {"optuna", "pydantic", "scipy", "sqlalchemy", "streamlit", "transformers"},
    "studies": {"numba", "numpy", "scipy", "streamlit", "torch", "transformers", "triton"},
    "optimizers": {"optuna", "pydantic", "scipy", "sqlalchemy", "streamlit", "transformers"},
    "autotune": {"plotly", "streamlit"},
    "app": {"torch", "triton"},
}
NAMELESS = {"common", "helpers", "misc", "utils"}


def modules(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        if not any(parent.is_symlink() for parent in path.parents):
            yield path


ALL = [path for folder in FOLDERS for path in modules(folder)]


def name(path):
    return path.relative_to(ROOT).as_posix()


def imported(path):
    """Yield the dotted names a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_folders(path):
    for dotted in imported(path):
        first, _, rest = dotted.partition(".")
        if first == "autotune":
            second = rest.partition(".")[0]
            yield second if second in FOLDERS else "autotune"


def test_every_package_is_listed():
    found = set()
    for folder, package in FOLDERS.items():
        for path in modules(folder):
            inner = path.parent.relative_to(ROOT / folder).parts
            found.add(".".join([package, *inner]))
    assert found == set(SETUPTOOLS["packages"])


def test_every_package_has_an_init():
    folders = {path.parent for path in ALL}
    assert [name(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder):
    for path in modules(folder):
        allowed = MAY_IMPORT[folder] | {folder}
        wrong = set(imported_folders(path)) - allowed
        assert not wrong, f"{name(path)} must not import {sorted(wrong)}"


@pytest.mark.parametrize("folder", NEVER)
def test_a_folder_leaves_the_libraries_of_others_alone(folder):
    for path in modules(folder):
        wrong = {dotted.partition(".")[0] for dotted in imported(path)} & NEVER[folder]
        assert not wrong, f"{name(path)} must not import {sorted(wrong)}"


def test_imports_are_absolute_and_through_autotune():
    for path in ALL:
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        relative = [n for n in tree if isinstance(n, ast.ImportFrom) and n.level]
        bare = {dotted.partition(".")[0] for dotted in imported(path)} & set(LINKED)
        assert not relative, f"{name(path)} must not import relatively"
        assert not bare, f"{name(path)} must import {sorted(bare)} through autotune"


@pytest.mark.parametrize(
    "heavy",
    ["alembic", "numba", "numpy", "optuna", "pydantic", "rich", "sqlalchemy", "torch", "triton"],
)
def test_importing_the_package_is_light(heavy):
    code = f"import sys, autotune; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_public_names_are_listed_and_known_to_type_checkers():
    import autotune

    assert set(autotune.__all__) <= set(dir(autotune))
    tree = ast.parse((ROOT / "autotune/__init__.py").read_text(encoding="utf-8"))
    (branch,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(branch.test) == "TYPE_CHECKING"
    seen = {alias.name: node.module for node in branch.body for alias in node.names}
    assert seen == autotune._PUBLIC


def test_no_module_is_a_drawer():
    assert [
        name(path) for path in ALL if path.stem in NAMELESS or path.parent.name in NAMELESS
    ] == []


def test_no_module_hides_one_of_pythons():
    # Streamlit puts the folders of __main__ and of the dashboard's script first among sys.path.
    first = [*(ROOT / "autotune").glob("*.py"), *(ROOT / "app/pages").glob("*.py")]
    assert [name(path) for path in first if path.stem in sys.stdlib_module_names] == []


def test_every_module_says_what_it_is_for():
    undocumented = [
        name(path)
        for path in ALL
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert undocumented == []


def test_users_never_meet_an_assert():
    found = [
        f"{name(path)}:{node.lineno}"
        for path in ALL
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


@pytest.mark.parametrize("folder", LINKED)
def test_a_link_shows_the_folder_to_type_checkers(folder):
    link = ROOT / "autotune" / folder
    assert link.is_symlink()
    assert link.readlink().as_posix() == f"../{folder}"


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def sources():
    """Return the files of the repository, tracked or about to be."""
    if not (ROOT / ".git").exists():
        pytest.skip("the files of the repository are known to git only, and this is no checkout")
    listed = git("ls-files", "-co", "--exclude-standard", "-z").split("\0")
    return sorted({line for line in listed if line and (ROOT / line).exists()})


@pytest.mark.parametrize("folder", LINKED)
def test_git_keeps_the_link(sources, folder):
    entry = git("ls-files", "-s", f"autotune/{folder}")
    if not entry:
        pytest.skip(f"autotune/{folder} is not committed yet")
    assert entry.startswith("120000 ")


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    """Build the wheel from a clean copy: a stale build/ resurrects deleted files."""
    clean = tmp_path_factory.mktemp("clean")
    for line in sources:
        (clean / line).parent.mkdir(parents=True, exist_ok=True)
        if not (ROOT / line).is_symlink():
            copyfile(ROOT / line, clean / line)
    out = tmp_path_factory.mktemp("wheel")
    # Torch brings setuptools, so nothing has to be downloaded to build.
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "--quiet", "--wheel-dir", out, clean], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def installed(line):
    """Return where a file of the repository lies in the wheel, None when it is no part of it."""
    folder, _, rest = line.partition("/")
    if folder not in FOLDERS or not rest or (ROOT / line).is_symlink():
        return None
    return f"{FOLDERS[folder].replace('.', '/')}/{rest}"


def test_the_wheel_owns_one_name(wheel):
    assert {re.sub(r"-.*dist-info", ".dist-info", line.split("/")[0]) for line in wheel} == {
        "autotune",
        "adan_autotune.dist-info",
    }


def test_the_wheel_holds_every_file(wheel, sources):
    expected = {installed(line) for line in sources} - {None}
    assert {line for line in wheel if line.startswith("autotune/")} == expected


def test_the_wheel_holds_the_licence(wheel):
    assert any(line.endswith("dist-info/licenses/LICENSE") for line in wheel)


@pytest.mark.parametrize(("group", "entry"), ENTRIES, ids=lambda value: value)
def test_every_entry_point_loads(group, entry):
    found = list(entry_points(group=group, name=entry))
    assert found, "not among the installed entry points; make test installs new ones"
    loaded = found[0].load()
    assert callable(loaded) or isinstance(loaded, Rule)
