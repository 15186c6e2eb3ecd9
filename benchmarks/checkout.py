"""Let this checkout be imported where it is not installed: checkout.py FOLDER, PYTHONPATH=FOLDER.

The root itself on the path would not do: its folder kernels/ hides a library of that name, and the
names of optimizers and models are entry points.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def link(folder: Path) -> None:
    """Fill a folder with what an installation would put on the path."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )
    (about / "entry_points.txt").write_text(_listed(project["entry-points"]), encoding="utf-8")
    (folder / "autotune").symlink_to(ROOT / "autotune", target_is_directory=True)


def _listed(groups: Mapping[str, Mapping[str, str]]) -> str:
    """Return entry points as installations keep them."""
    return "".join(
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), "\n"])
        for group, entries in groups.items()
    )


if __name__ == "__main__":
    link(Path(sys.argv[1]))
