"""The documentation says what the program does."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch

from autotune.bench.step.selection import traffic
from autotune.cli import main
from autotune.optimizers import create, names
from autotune.search.coordinator import run
from autotune.studies.spec import parse
from autotune.studies.store import Store

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_the_reference_of_the_command_line_is_fresh() -> None:
    made = runpy.run_path(str(DOCS / "make_cli.py"))["page"]()
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == made, "run: python docs/make_cli.py"


def test_the_description_of_the_service_is_fresh() -> None:
    made = runpy.run_path(str(DOCS / "make_openapi.py"))["page"]()
    kept = (DOCS / "openapi.json").read_text(encoding="utf-8")
    assert kept == made, "run: python docs/make_openapi.py"


PAGES = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "benchmarks/README.md")
FENCED = re.compile(r"^```(?!python)\w*\n(.*?)^```", re.M | re.S)
# A line may hold several, each after a gap or a label, and end in a remark.
COMMAND = re.compile(r"(?:^|\s{2,}|^\w+\s+|Example: |=\S+ )autotune (\w.*?)(?=\s{2,}|\s+#|$)")


def commands() -> list[str]:
    """Return what follows `autotune` in every command that a page shows, once each."""
    found = []
    for path in (*(ROOT / page for page in PAGES), *sorted(DOCS.glob("*.md"))):
        for block in FENCED.findall(path.read_text("utf-8").replace("\\\n", " ")):
            for line in block.splitlines():
                if not line.startswith("Usage:"):
                    found += COMMAND.findall(line)
    return list(dict.fromkeys(found))


def searches() -> list[str]:
    """Return the searches among them that need no cluster, no images and no large model."""
    elsewhere = ("--engine ray", "--data", "postgresql:", "resnet50")
    given = [line for line in commands() if line.startswith("search ")]
    return [line for line in given if not any(word in line for word in elsewhere)]


def parsed(command: str) -> click.Context:
    """Return the context in which a command would run; raises click.UsageError."""
    context = click.Context(main, info_name="autotune", **main.context_settings)
    arguments = shlex.split(command)
    while isinstance(context.command, click.Group):
        name, below, arguments = context.command.resolve_command(context, arguments)
        assert below is not None
        if isinstance(below, click.Group):
            context = click.Context(below, info_name=name, parent=context)
        else:
            context = below.make_context(name, arguments, parent=context)
    return context


def test_the_pages_show_commands_of_every_kind() -> None:
    shown = {command.split()[0] for command in commands()}
    assert shown >= {"search", "worker", "show", "compare", "export", "tell", "dashboard", "bench"}


@pytest.mark.parametrize("command", commands())
def test_a_command_on_a_page_is_one(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    parsed(command)


@pytest.mark.parametrize("command", searches())
def test_a_search_on_a_page_begins(
    command: str,
    beside_train: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Steps are timed under minutes: in this process, where that takes no start of workers.
    monkeypatch.setenv("AUTOTUNE_ENGINE", "inline")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setattr("autotune.search.timing.LOOK", 0.2)
    words = shlex.split(command)  # behind -- stands a command of the user's
    with pytest.raises(SystemExit) as left:
        main([words[0], *["--dry-run"] * ("--dry-run" not in command), *words[1:]])
    assert not left.value.code, capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["8", "28"])
def test_make_search_takes_the_minutes_that_a_search_asks_for(minutes: str) -> None:
    given = [] if minutes == "8" else [f"MINUTES={minutes}"]
    # The make that runs the tests hands its own arguments on by the environment.
    own = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    told = subprocess.run(
        ["make", "-n", "search", *given],
        cwd=ROOT,
        env={name: value for name, value in own.items() if name != "ARGS"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = told.stdout.splitlines()
    (line,) = [each for each in said if "/autotune search " in each]
    context = parsed(line.partition("/autotune ")[2])
    assert context.params["minutes"] == float(minutes)


def blocks(name: str) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.M | re.S)


def test_the_readme_s_numbers_were_printed_by_the_benchmark() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.search(r"\((benchmarks/results/\S+\.txt)\):\n\n```\n(.*?)^```", text, re.M | re.S)
    assert found
    printed = (ROOT / found[1]).read_text("utf-8").splitlines()
    assert set(found[2].splitlines()) <= set(printed)


@pytest.fixture
def beside_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with the task that the README writes to train.py."""
    (tmp_path / "train.py").write_text(blocks("README.md")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("AUTOTUNE_STORAGE", raising=False)
    yield tmp_path
    sys.modules.pop("train", None)


@pytest.mark.parametrize("block", blocks("README.md"), ids=lambda block: block.split("\n", 1)[0])
def test_the_readme_runs_as_printed(block: str, beside_train: Path) -> None:
    script = beside_train / "readme.py"
    script.write_text(block, encoding="utf-8")
    runpy.run_path(str(script))


def test_the_readme_tunes_a_function_from_python_in_a_dozen_lines(beside_train: Path) -> None:
    (block,) = [each for each in blocks("README.md") if "autotune.tune(" in each]
    assert len([line for line in block.splitlines() if line]) <= 12
    (beside_train / "notebook.py").write_text(block, encoding="utf-8")
    left = runpy.run_path("notebook.py")
    assert left["result"].complete
    group = left["optimizer"].param_groups[0]
    assert group["initial_lr"] == left["result"].best.hyper["lr"]
    assert group["lr"] == 0.0  # trained to the schedule's end


def test_the_page_on_python_runs_as_printed(beside_train: Path) -> None:
    script = beside_train / "page.py"
    script.write_text("\n".join(blocks("docs/python.md")), encoding="utf-8")
    left = runpy.run_path(str(script))
    assert left["result"].complete
    assert set(left["trials"]["optimizer"]) == {"adan", "adamw"}


def test_the_readme_s_own_task_is_searched_as_printed(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(blocks("README.md")[0], encoding="utf-8")
    spec = {"model": f"{script}:problem", "optimizers": ["adan"], "budget": {"trials": 2}}
    with Store(f"{tmp_path}/autotune.db") as store:
        found = run(parse(spec | {"steps": 9, "engine": "inline"}), store=store)
    assert found.rows[0].tuned.loss is not None


def test_the_readme_s_own_optimizer_steps_on_every_backend(tmp_path: Path) -> None:
    script = tmp_path / "signum.py"
    script.write_text(blocks("README.md")[-1], encoding="utf-8")
    made = runpy.run_path(str(script))["Signum"]
    for backend in ("torch", "numba"):
        p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        p.grad = torch.tensor([0.5, -0.25, 0.0])
        made([p], lr=0.1, backend=backend).step()
        torch.testing.assert_close(p.detach(), torch.tensor([0.9, -1.9, 3.0]))


def listed_optimizers() -> dict[str, list[str]]:
    """Return the rows of the page's first table by name."""
    page, *_ = (DOCS / "optimizers.md").read_text(encoding="utf-8").partition("\n## ")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|(.*)\|$", page, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in rows}


def test_the_page_on_optimizers_has_every_name_with_its_state_and_bytes() -> None:
    listed = listed_optimizers()
    beside = ("-win", "-win2", "-nema", "-mars", "-grokfast")  # forms of which the page tells once
    assert list(listed) == [name for name in names() if not name.endswith(beside)]
    for name, (state, size, *_) in listed.items():
        p = torch.nn.Parameter(torch.ones(3, 3))
        optimizer = create(name, [p], backend="torch")
        # One may ask to differentiate the gradient itself.
        again = getattr(optimizer, "second_order", False)
        [p.grad] = torch.autograd.grad((p**3).sum(), [p], create_graph=again)
        optimizer.step()
        kept = [buffer for buffer in optimizer.state[p] if buffer != "step"]
        assert state.replace("`", "").split(", ") == kept
        assert int(size) == traffic(optimizer, p).total
        p.grad = None


def test_every_picture_of_the_dashboard_is_shown_in_both_widths_and_schemes() -> None:
    shown = set(re.findall(r"screens/([\w-]+\.webp)", (DOCS / "dashboard.md").read_text("utf-8")))
    assert shown == {path.name for path in (DOCS / "screens").iterdir()}
    for name in {path.rsplit("-", 2)[0] for path in shown}:
        every = {f"{name}-{width}-{by}.webp" for width in (1400, 400) for by in ("light", "dark")}
        assert every <= shown
