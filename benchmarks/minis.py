"""Search the papers' small networks on a real clock, and keep how each search ended as a table.

Runs ``autotune search --model X --minutes 3`` for one network after another, with the optimizers
that it takes by default. Nothing else may run meanwhile. The table is written anew after each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import autotune
from autotune.bench import machine
from autotune.errors import AutotuneError
from autotune.results.comparison import Comparison
from autotune.search.opening import SHORTENED

MODELS = ("vit-mini", "gpt2-mini", "bert-mini", "convnext-mini", "swin-mini", "mae-mini")
OUT = Path(__file__).parent / "results" / "minis.md"
HEAD = (
    "model",
    "exit code",
    "seconds",
    "settings tried",
    "judging seeds",
    "what became shorter",
    "workers",
    "verdict",
)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a search ended.

    Args:
        model: Name of the task.
        code: Exit code of the command.
        seconds: Wall time of the command.
        found: What it found; None where no search was stored.
        error: Last line that the command wrote besides its table.
    """

    model: str
    code: int
    seconds: float
    found: Comparison | None
    error: str

    @property
    def row(self) -> list[str]:
        """Return the cells of its row."""
        head = [f"`{self.model}`", str(self.code), f"{self.seconds:.0f}"]
        if self.found is None:
            return [*head, "", "", "", "", self.error]
        workers = str(self.found.search.spec.get("workers", ""))
        told = [tried(self.found), judged(self.found), shortened(self.found), workers]
        return [*head, *told, self.found.verdict]


def tried(found: Comparison) -> str:
    """Return how many settings were tried of each optimizer."""
    return ", ".join(f"{row.optimizer} {row.searched.settings}" for row in found.rows)


def judged(found: Comparison) -> str:
    """Return on how many seeds each optimizer's tuned setting and its default were judged."""
    pairs = [(len(row.tuned.losses), len(row.default.losses)) for row in found.rows]
    fewest, most = min(map(min, pairs)), max(map(max, pairs))
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def shortened(found: Comparison) -> str:
    """Return what the minutes made smaller, from what to what."""
    task = found.search.task
    own = task.get(SHORTENED, {})
    each = [f"{key.replace('_', ' ')} {before} -> {task[key]}" for key, before in own.items()]
    return ", ".join(each) or "nothing"


def search(model: str, minutes: float, folder: Path) -> Ended:
    """Run the command, and take from its database what was found."""
    storage = f"sqlite:///{folder}/minis.db"
    command = [sys.executable, "-P", "-m", "autotune", "search", "--model", model]
    command += ["--minutes", f"{minutes:g}", "--storage", storage, "--progress", "plain"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds, found = time.monotonic() - began, None
    with suppress(AutotuneError):  # nothing was stored
        found = autotune.load(model, storage=storage).comparison
    said = done.stderr.strip().splitlines()
    return Ended(
        model=model,
        code=done.returncode,
        seconds=seconds,
        found=found,
        error=said[-1] if said else "",
    )


def page(head: str, found: Sequence[Ended]) -> str:
    """Return the table, in Markdown, below what it was measured with."""
    rows = [list(HEAD), ["---"] * len(HEAD), *(one.row for one in found)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"# Searches of the small networks\n\n{head}\n\n{table}\n"


def measured(minutes: float) -> str:
    """Return a sentence about command, machine, day and commit."""
    facts = machine.facts("cpu")
    return (
        f"`python benchmarks/minis.py --minutes {minutes:g}` on {facts['device']}, "
        f"{facts['date']:%Y-%m-%d}, commit {facts['commit']}."
    )


def main() -> None:
    """Search, and write the table after each search."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all six")
    parser.add_argument("--minutes", type=float, default=3.0, help="of each search")
    parser.add_argument("--out", type=Path, default=OUT, help="file of the table")
    given = parser.parse_args()
    head, found = measured(given.minutes), []
    with tempfile.TemporaryDirectory() as folder:
        for model in given.models or MODELS:
            found.append(search(model, given.minutes, Path(folder)))
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(page(head, found))
            sys.stdout.write(f"{' | '.join(found[-1].row)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
